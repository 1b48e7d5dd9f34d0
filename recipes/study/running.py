"""Do the missing runs of a study, in one process or several."""

import multiprocessing
from multiprocessing.process import BaseProcess

import torch

from recipes.study.config import StudyConfig, runs
from recipes.study.results_file import ResultsFile
from recipes.study.run import execute


def run_study(config: StudyConfig) -> None:
    """Do the runs that the results file lacks, in `config.processes` processes.

    Processes of other shells take part if they use the same file. A killed run starts over when the study is started
    again.

    Raises:
        ValueError: The file holds runs with other settings.
        RuntimeError: A process died.
    """
    ResultsFile(config.results, config.settings)
    if config.processes == 1:
        work(config)
        return
    # Spawned, because forked copies of torch's thread pools hang.
    context = multiprocessing.get_context("spawn")
    workers: list[BaseProcess] = [context.Process(target=work, args=(config,)) for _ in range(config.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := [worker.exitcode for worker in workers if worker.exitcode]:
        raise RuntimeError(f"{len(failed)} of {len(workers)} processes ended early, with {failed}; start it again.")


def work(config: StudyConfig) -> None:
    """Do the runs that no process has done or is doing, in order."""
    # Results depend on the number of threads, and one per core is fastest for a model this small.
    torch.set_num_threads(1)
    file = ResultsFile(config.results, config.settings)
    left = [run for run in runs(config) if run.key not in file.read().results]
    for number, run in enumerate(left, 1):
        with file.claim(run.key) as mine:
            if mine:
                result = execute(run, config)
                file.append(result)
                outcome = result.get("error", "done")
                print(f"{number}/{len(left)} {run.variant.name}, seed {run.seed}: {outcome}", flush=True)
