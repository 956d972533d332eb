"""One job of a sweep: ``python -m eval.sweep.work JOBS.json NUMBER`` does it unless its result is there already.

A result file appears complete or not at all, so that a sweep can be killed and resumed anywhere. Results of equal code
are equal: computation times (CA, RTF) are in them only when the cell had its device alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.record import SUFFIX, Recording, read_recording
from agent.config import from_namespace
from agent.errors import EXIT_USER_ERROR, UserError
from agent.models import ModelCache
from agent.run import manifest
from agent.run.folder import CONFIG, LOG, MANIFEST, TRACE, OutputFolder, write_json
from agent.run.settings import OUR_AGENT, Settings
from agent.run.talks import Talk
from agent.trace import TraceWriter
from eval.recorded import Models, record_talk, translate
from eval.score import Options, score
from eval.sweep.spec import Job, parse

TIMED = ("ca_long_yaal_ms", "ca_long_laal_ms", "rtf")
KEPT = ("bleu", "chrf", "cu_long_yaal_ms", "cu_long_laal_ms", "erasure", "wer", "talks", "audio_s")
"""Scores that depend on the setting alone; ``TIMED`` ones also on the machine, without the recogniser's time."""


def result_path(output: Path, job: Job) -> Path:
    """The file whose presence says that a job is done."""
    return (
        output / "recordings" / f"{job.id}{SUFFIX}" if job.kind == "record" else output / "results" / f"{job.id}.json"
    )


def do(job: Job, output: Path, alone: bool) -> Path:
    """Do a job unless it is done; its result file. ``alone``: nothing else uses its device, so times are kept."""
    path = result_path(output, job)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if job.kind == "record":
        (audio,) = job.talks.audio
        record_talk(Path(audio), from_namespace(job.tree), path)
    else:
        write_json(path, _cell(job, output, alone))
    return path


def read_jobs(path: Path) -> tuple[list[Job], Path]:
    """Jobs of a jobs file and the sweep's output folder."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return [parse(job) for job in tree["jobs"]], Path(tree["output"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a list of jobs: make it with `alignatt sweep SPEC --slurm`.") from error


def _cell(job: Job, output: Path, alone: bool) -> dict[str, Any]:
    """Translate the recorded hypotheses, keep the run as a folder like any other, and score it."""
    began, clock = datetime.now(UTC), time.monotonic()
    paths = {talk: output / "recordings" / f"{name}{SUFFIX}" for talk, name in job.recordings.items()}
    recordings = {talk: read_recording(path) for talk, path in paths.items()}
    config = from_namespace(job.tree)
    with OutputFolder(output / "runs" / job.id, force=True) as run:
        tracer = TraceWriter(run.folder / TRACE)
        with (run.folder / LOG).open("w", encoding="utf-8") as log:
            for line in translate(config, _models(job, alone), recordings, tracer):
                log.write(json.dumps(line, ensure_ascii=False) + "\n")
        settings = Settings(OUR_AGENT, job.tree, True, config.source_lang, config.target_lang)
        (run.folder / CONFIG).write_text(settings.dump(), encoding="utf-8")
        talks = [Talk(Path(audio), Path(audio), _seconds(recordings[Path(audio).stem])) for audio in job.talks.audio]
        measured = {"started_utc": began.isoformat(timespec="seconds"), "wall_s": round(time.monotonic() - clock, 3)}
        described = manifest.describe(settings, settings.dump(), talks, ["alignatt", "sweep"], measured)
        write_json(run.folder / MANIFEST, {**described, "recordings": job.recordings, "alone": alone})
        run.commit()
    scores, _ = score(run.path, Options(references=Path(job.talks.references), talks=tuple(job.recordings)))
    result: dict[str, Any] = {
        "id": job.id,
        "direction": job.direction,
        "talks_set": job.talks.name,
        "policy": job.policy,
    }
    result |= {"keys": job.keys, "name": job.name}
    result |= {key: getattr(scores, key) for key in (*KEPT, *(TIMED if alone else ()))}
    # The log holds times of computation, so that its hash is of this run and not of the setting.
    fields = scores.signature.split("|")
    return {**result, "signature": "|".join(field for field in fields if alone or not field.startswith("log:"))}


def _models(job: Job, alone: bool) -> Models:
    """Models of this process; drafts are shared by all cells of a direction and translation model, or by none."""
    key = json.dumps([job.direction, job.tree["mt"], alone], sort_keys=True)
    if key not in _MODELS:
        _MODELS[key] = Models(remember=not alone, loaded=_LOADED)
    return _MODELS[key]


def _seconds(recording: Recording) -> float:
    return sum(step.n_samples for step in recording.steps) / SAMPLE_RATE_HZ


_LOADED = ModelCache()
_MODELS: dict[str, Models] = {}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("--alone", action="store_true", help="nothing else uses this device: keep computation times")
    arguments = parser.parse_args()
    try:
        jobs, output = read_jobs(arguments.jobs)
        if not 0 <= arguments.number < len(jobs):
            raise UserError(f"{arguments.jobs} has jobs 0 to {len(jobs) - 1}, not {arguments.number}.")
        print(do(jobs[arguments.number], output, arguments.alone))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
