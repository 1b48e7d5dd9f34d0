"""Runs of a study one after another, on one process or several, from where it stopped."""

import multiprocessing
from multiprocessing.process import BaseProcess

import torch

from recipes.study.config import StudyConfig, jobs
from recipes.study.results_file import Lines
from recipes.study.run import run


def run_study(config: StudyConfig) -> None:
    """Do the runs that the file of lines lacks, on `config.processes` processes.

    Processes started by other shells on the same file take part. What is killed is done again from its beginning
    when the study is started again.

    Raises:
        ValueError: The file holds runs with other settings.
        RuntimeError: A process ended before its time.
    """
    Lines(config.lines, config.settings)
    if config.processes == 1:
        work(config)
        return
    context = multiprocessing.get_context("spawn")
    workers: list[BaseProcess] = [context.Process(target=work, args=(config,)) for _ in range(config.processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := [worker.exitcode for worker in workers if worker.exitcode]:
        raise RuntimeError(f"{len(failed)} of {len(workers)} processes ended early, with {failed}; start it again.")


def work(config: StudyConfig) -> None:
    """Do what nobody else has done or is doing, in order."""
    torch.set_num_threads(1)
    lines = Lines(config.lines, config.settings)
    left = [job for job in jobs(config) if job.key not in lines.read().lines]
    for number, job in enumerate(left, 1):
        with lines.claim(job.key) as mine:
            if mine:
                line = run(job, config)
                lines.append(line)
                print(f"{number}/{len(left)} {job.arm.name}, seed {job.seed}: {line.get('error', 'done')}", flush=True)
