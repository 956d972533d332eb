"""Doing the jobs of a sweep: worker processes here, tasks of a Ray cluster, or Slurm arrays. Recordings come first."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agent.errors import UserError
from agent.paths import PROJECT
from agent.run.folder import write_atomically, write_json
from eval.sweep.spec import Job, Sweep
from eval.sweep.work import do, result_path


@dataclass(frozen=True)
class Resources:
    """``workers``: jobs at once. ``gpus``, ``cpus``: of each job. ``ray``: address, ``local`` for a cluster of its own,
    empty for worker processes of this machine. ``alone``: a cell shares its device with nothing."""

    workers: int = 1
    gpus: float = 0.0
    cpus: float = 1.0
    ray: str = ""
    alone: bool = False


def run(sweep: Sweep, resources: Resources) -> int:
    """Do what is not done; how many jobs were. UserError names the cells that failed, after all others are done."""
    sweep.output.mkdir(parents=True, exist_ok=True)
    stages = (("recording", sweep.records), ("cells", sweep.cells))
    try:
        return sum(_stage(name, jobs, sweep.output, resources) for name, jobs in stages)
    finally:
        if resources.ray and "ray" in sys.modules:
            sys.modules["ray"].shutdown()


def _stage(name: str, jobs: Sequence[Job], output: Path, resources: Resources) -> int:
    open_jobs = [job for job in jobs if not result_path(output, job).is_file()]
    if not open_jobs:
        return 0
    failed: dict[str, str] = {}
    execute = _on_ray if resources.ray else _here
    with tqdm(total=len(jobs), initial=len(jobs) - len(open_jobs), desc=name, unit="job", disable=None) as bar:
        for job_id, error in execute(open_jobs, output, resources):
            failed |= {job_id: error} if error else {}
            bar.update()
    if failed:
        first, error = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} of {len(jobs)} jobs ({name}) failed, {first} with: {error} "
            f"(logs in {output / 'logs'}). Run the same command again to do only what is missing."
        )
    return len(open_jobs)


def attempt(job: Job, output: Path, alone: bool) -> tuple[str, str]:
    """Do a job with its messages in a log file; its id and what went wrong, empty if nothing."""
    log = output / "logs" / f"{job.id}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            do(job, output, alone)
        except Exception as error:  # one bad cell must not end a sweep; the caller reports it
            print(f"{type(error).__name__}: {error}", file=out)
            return job.id, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return job.id, ""


def _here(jobs: Sequence[Job], output: Path, resources: Resources) -> Iterator[tuple[str, str]]:
    if resources.workers == 1:
        yield from (attempt(job, output, resources.alone) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    devices = context.Queue()
    for number in range(resources.workers):
        first = int(number * resources.gpus)
        devices.put(",".join(str(first + k) for k in range(int(resources.gpus))))
    workers = min(resources.workers, len(jobs))
    with ProcessPoolExecutor(workers, context, _take_device, (devices, resources.gpus >= 1)) as pool:
        waiting = {pool.submit(attempt, job, output, resources.alone): job.id for job in jobs}
        for future in as_completed(waiting):
            try:
                yield future.result()
            except Exception as error:  # the worker died
                yield waiting[future], f"{type(error).__name__}: {error}"


def _take_device(devices: Any, gpus: bool) -> None:
    """In a new worker: its own GPUs, one thread of torch."""
    mine = devices.get()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = mine
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _on_ray(jobs: Sequence[Job], output: Path, resources: Resources) -> Iterator[tuple[str, str]]:
    _join(resources)
    import ray

    task = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1)(attempt)
    waiting = {task.remote(job, output, resources.alone): job.id for job in jobs}
    while waiting:
        (ready,), _ = ray.wait(list(waiting), num_returns=1)
        job_id = waiting.pop(ready)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayError as error:
            yield job_id, f"{type(error).__name__}: {str(error).splitlines()[0]}"


def _join(resources: Resources) -> None:
    """Make or join the Ray cluster, once for both stages; Ray leaves it when this process ends or `run` is done."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
    except ImportError as error:
        raise UserError(f"--ray needs Ray: pip install ray ({error}).") from error
    if ray.is_initialized():
        return
    n_cpus = int(resources.workers * max(1, resources.cpus))
    own: dict[str, Any] = {"num_cpus": n_cpus, "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, **(own if resources.ray == "local" else {"address": resources.ray}))
    except Exception as error:  # Ray has no error class of its own for this
        raise UserError(f"Ray does not start ({resources.ray}): {' '.join(str(error).split())}") from error


def write_slurm(sweep: Sweep, resources: Resources, options: Sequence[str]) -> list[Path]:
    """Job lists, two array scripts and one that submits them; ``options``: further lines for ``#SBATCH``."""
    sweep.output.mkdir(parents=True, exist_ok=True)
    files = []
    for stage, jobs in (("record", sweep.records), ("cells", sweep.cells)):
        jobs_file, script = sweep.output / f"{stage}.json", sweep.output / f"{stage}.sbatch"
        tree = {"output": str(sweep.output), "jobs": [asdict(job) for job in jobs]}
        write_json(jobs_file, tree)
        gpus = [f"--gpus-per-task={resources.gpus:g}"] if resources.gpus and stage == "cells" else []
        wanted = [
            f"--job-name=alignatt-{stage}",
            f"--array=0-{len(jobs) - 1}%{resources.workers}",
            f"--cpus-per-task={max(1, round(resources.cpus))}",
            f"--output={sweep.output}/logs/{stage}-%a.log",
            *gpus,
            *options,
        ]
        alone = " --alone" if resources.alone else ""
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in wanted),
            "set -euo pipefail",
            "export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}",
            f"cd {shlex.quote(str(PROJECT))}",
            f"{shlex.join([sys.executable, '-m', 'eval.sweep.work', str(jobs_file)])} $SLURM_ARRAY_TASK_ID{alone}",
        ]
        write_atomically(script, "\n".join(lines) + "\n")
        files += [jobs_file, script]
    (sweep.output / "logs").mkdir(exist_ok=True)
    submit = sweep.output / "submit.sh"
    first, second = shlex.quote(str(files[1])), shlex.quote(str(files[3]))
    write_atomically(
        submit,
        f"#!/bin/bash\nset -euo pipefail\nrecorded=$(sbatch --parsable {first})\n"
        f'sbatch --dependency=afterok:"$recorded" {second}\n',
    )
    submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
    return [*files, submit]
