"""COMET scores of resegmented output, by default XCOMET-XL's, computed in an environment of its own.

COMET wants transformers < 5, this package ≥ 5: `eval.scoring.comet_worker` runs in ``.venv-comet`` (``make comet-env``)
on the segments that were resegmented here. Nothing is downloaded: checkpoint and encoder files lie in the hub cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from agent.errors import UserError
from agent.paths import resolve
from agent.run.manifest import free_memory_gib, sha256
from agent.weights import hub_cache
from eval.scoring.segments import Segment

MODEL = "Unbabel/XCOMET-XL"
ENVIRONMENT = Path(".venv-comet")
CHECKPOINT = "checkpoints/model.ckpt"
ENCODER_FILES = ("config.json", "tokenizer.json", "sentencepiece.bpe.model", "tokenizer_config.json")
LOADING = 2.0
"""Main memory that loading takes, as a multiple of the checkpoint: it is read whole beside the model that it fills."""


@dataclass(frozen=True)
class Model:
    """A COMET model on this machine: folder with ``checkpoints/model.ckpt`` and ``hparams.yaml``.

    ``label``: its name with the first eight digits of its revision, or of the checkpoint's SHA-256 for a folder.
    """

    label: str
    folder: Path


@dataclass(frozen=True)
class CometScores:
    """What was computed and what it took. ``score``: mean over the segments, 0–1; memory is MiB at most."""

    model: str
    score: float
    device: str
    seconds: float
    peak_mib: int
    gpu_peak_mib: int


def require(name: str = MODEL) -> Model:
    """The model of a repository or folder, ready to be run; UserError, one line, when something is missing.

    The environment, the checkpoint, its encoder's files and the memory to load them are looked for, in this order.
    """
    if not _python().is_file():
        raise UserError(
            f"COMET needs its own environment {ENVIRONMENT} (it wants transformers < 5): make it with `make comet-env`."
        )
    folder = resolve(name)
    if folder.is_dir():
        if not (folder / CHECKPOINT).is_file():
            raise UserError(f"{name} holds no {CHECKPOINT}: it is no COMET model.")
        label = f"{folder.name}@{sha256(folder / CHECKPOINT)[:8]}"
    else:
        found = _snapshot(name, CHECKPOINT)
        if found is None:
            raise UserError(_missing(name))
        folder, label = found, f"{name}@{found.name[:8]}"
    _require_encoder(folder, label)
    _require_memory(folder / CHECKPOINT, label)
    return Model(label, folder)


def judge(segments: Sequence[Segment], model: Model) -> tuple[tuple[Segment, ...], CometScores]:
    """The segments with their scores, and the mean; UserError when it cannot be computed."""
    if any(segment.source is None for segment in segments):
        raise UserError("COMET needs the English transcript: put ref.en.txt into the references folder.")
    with tempfile.TemporaryDirectory(prefix="comet-") as scratch:
        task, result = Path(scratch) / "task.json", Path(scratch) / "result.json"
        samples = [{"src": s.source, "mt": s.prediction, "ref": s.reference} for s in segments]
        task.write_text(json.dumps(samples, ensure_ascii=False), encoding="utf-8")
        worker = Path(__file__).with_name("comet_worker.py")
        done = subprocess.run(
            [str(_python()), "-I", str(worker), str(model.folder / CHECKPOINT), str(task), str(result)],
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "HF_HUB_CACHE": str(hub_cache()),
                "TOKENIZERS_PARALLELISM": "false",
            },
            stdout=sys.__stderr__ if sys.stdout.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"{model.label} did not score in {ENVIRONMENT}: {_reason(done)}")
        found = json.loads(result.read_text(encoding="utf-8"))
    scores: list[float] = found["scores"]
    judged = tuple(dataclasses.replace(s, comet=round(c, 6)) for s, c in zip(segments, scores, strict=True))
    mean = sum(scores) / len(scores)
    return judged, CometScores(
        model.label, mean, found["device"], found["seconds"], found["peak_mib"], found["gpu_peak_mib"]
    )


def _python() -> Path:
    return resolve(ENVIRONMENT) / "bin" / "python"


def _snapshot(repository: str, file: str) -> Path | None:
    """A snapshot of a repository in the hub cache that holds ``file``; that of ``main`` where there are several."""
    folder = hub_cache() / f"models--{repository.replace('/', '--')}"
    main = folder / "refs" / "main"
    first = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    snapshots = sorted((folder / "snapshots").glob("*"), key=lambda path: (path.name != first, path.name))
    return next((path for path in snapshots if (path / file).is_file()), None)


def _require_encoder(folder: Path, label: str) -> None:
    hparams = folder / "hparams.yaml"
    try:
        encoder = str(yaml.safe_load(hparams.read_text(encoding="utf-8"))["pretrained_model"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{label} has no hparams.yaml that names its encoder: download it again.") from error
    if not Path(encoder).is_dir() and _snapshot(encoder, "config.json") is None:
        files = " ".join(ENCODER_FILES)
        raise UserError(f"{label} needs its encoder's files in the hub cache: hf download {encoder} {files}")


def _require_memory(checkpoint: Path, label: str) -> None:
    size_gib, free_gib = checkpoint.stat().st_size / 2**30, free_memory_gib()
    if LOADING * size_gib > free_gib:
        raise UserError(
            f"{label}: loading its checkpoint of {size_gib:.1f} GiB takes about {LOADING * size_gib:.0f} GiB of main "
            f"memory, {free_gib:.0f} GiB are free here. Copy the run folder to a larger machine and score it there."
        )


def _missing(name: str) -> str:
    if name != MODEL:
        return f"There is no folder {name}, and no COMET model of this name in the hub cache: hf download {name}"
    return (
        f"{MODEL} is not in the hub cache. It is gated (CC BY-NC-SA 4.0, not for commercial use): accept the licence "
        f"at https://huggingface.co/{MODEL}, then: hf auth login; hf download {MODEL}. Scoring takes about 14 GB "
        "of GPU memory. Another model: --comet-model."
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode == 2 and lines:
        return lines[-1]
    if done.returncode == -9:
        return "it was killed, as the system does with what takes too much memory."
    return f"exit code {done.returncode}, {lines[-1][:300] if lines else 'no message'}"
