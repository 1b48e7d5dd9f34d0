"""Do the missing runs of a study, in one process or several."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch

from recipes.study.config import StudyConfig, runs
from recipes.study.results_file import Result, ResultsFile
from recipes.study.run import execute


class Keyed(Protocol):
    """A run that a results file can tell from the others."""

    @property
    def key(self) -> tuple[str, int]:
        """Name and seed."""
        ...


def run_study(config: StudyConfig) -> None:
    """Do the runs of the first part that the results file lacks; see `run_all`."""
    run_all(config, runs(config), execute)


def run_all(config: Any, wanted: Sequence[Keyed], execute: Callable[[Any, Any], Result]) -> None:
    """Do the runs that the results file lacks, in `config.processes` processes.

    Processes of other shells take part if they use the same file. A killed run starts over when the study is started
    again.

    Args:
        config: Has the file, `results`, and what its runs have in common, `settings`.
        wanted: The runs, in order.
        execute: Does one of them, with the config; a function of a module, for it is sent to the processes.

    Raises:
        ValueError: The file holds runs with other settings.
        RuntimeError: A process died.
    """
    ResultsFile(config.results, config.settings)
    if config.processes == 1:
        work(config, wanted, execute)
        return
    # Spawned, because forked copies of torch's thread pools hang.
    context = multiprocessing.get_context("spawn")
    task = (config, wanted, execute)
    workers: list[BaseProcess] = [context.Process(target=work, args=task) for _ in range(config.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := [worker.exitcode for worker in workers if worker.exitcode]:
        raise RuntimeError(f"{len(failed)} of {len(workers)} processes ended early, with {failed}; start it again.")


def work(config: Any, wanted: Sequence[Keyed], execute: Callable[[Any, Any], Result]) -> None:
    """Do the runs that no process has done or is doing, in order."""
    # Results depend on the number of threads, and one per core is fastest for a model this small.
    torch.set_num_threads(1)
    file = ResultsFile(config.results, config.settings)
    left = [run for run in wanted if run.key not in file.read().results]
    for number, run in enumerate(left, 1):
        with file.claim(run.key) as mine:
            if mine:
                result = execute(run, config)
                file.append(result)
                outcome = result.get("error", "done")
                print(f"{number}/{len(left)} {run.key[0]}, seed {run.key[1]}: {outcome}", flush=True)
