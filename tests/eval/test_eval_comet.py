"""COMET: what is said when something is missing, where scores go, and the real thing where its environment is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from eval_runs import german_talks, write_references, write_run

from agent.cli.main import alignatt
from agent.paths import PROJECT
from eval.scoring import comet
from eval.scoring.bootstrap import RunStatistics, compare_runs
from eval.scoring.segments import read_segments

ENVIRONMENT = PROJECT / comet.ENVIRONMENT / "bin" / "python"
FAKE = """#!{python}
import json, sys
isolated, worker, checkpoint, task, result = sys.argv[1:]
assert isolated == "-I" and worker.endswith("comet_worker.py"), sys.argv
samples = json.load(open(task, encoding="utf-8"))
assert all(sample["src"] and sample["ref"] for sample in samples)
scores = [1 - 0.25 * number for number in range(len(samples))]
found = {{"scores": scores, "device": "cpu", "seconds": 1, "peak_mib": 2, "gpu_peak_mib": 0}}
json.dump(found, open(result, "w", encoding="utf-8"))
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without environment and models; folder ``venv`` is where the environment belongs, ``hub`` the cache."""
    monkeypatch.setattr(comet, "ENVIRONMENT", tmp_path / "venv")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("COMET_MODEL", raising=False)
    return tmp_path


def install(machine: Path, script: str = FAKE) -> None:
    """An environment whose Python is ``script``."""
    python = machine / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(script.format(python=sys.executable) if script is FAKE else script)
    python.chmod(0o755)


def download(machine: Path, *files: str) -> None:
    """Files ``repository:path`` in the hub cache."""
    for file in files:
        repository, _, name = file.partition(":")
        path = machine / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "0123456789" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("pretrained_model: facebook/xlm-roberta-xl\n" if name == "hparams.yaml" else "{}")


WHOLE = ("Unbabel/XCOMET-XL:checkpoints/model.ckpt", "Unbabel/XCOMET-XL:hparams.yaml",
         "facebook/xlm-roberta-xl:config.json")  # fmt: skip


def scored(folder: Path, *options: str | Path) -> int:
    """Exit code of scoring a small run in ``folder`` against its references."""
    references = write_references(folder / "refs")
    run = write_run(folder / "run", german_talks())
    return alignatt(["score", str(run), "--references", str(references), *map(str, options)])


def test_what_is_missing_is_said_in_one_line(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*options: str) -> str:
        assert scored(machine, "--comet", *options) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "make comet-env" in said()
    install(machine)
    assert "accept the licence at https://huggingface.co/Unbabel/XCOMET-XL" in said()
    assert "hf download Unbabel/wmt22-comet-da" in said("--comet-model", "Unbabel/wmt22-comet-da")
    assert "no checkpoints/model.ckpt" in said("--comet-model", str(machine))
    download(machine, WHOLE[0])
    assert "no hparams.yaml" in said()
    download(machine, WHOLE[1])
    assert "hf download facebook/xlm-roberta-xl config.json" in said()
    download(machine, WHOLE[2])
    (machine / "run" / "ref.en.txt").unlink(missing_ok=True)
    (machine / "refs" / "ref.en.txt").unlink()
    assert not (machine / "run" / "scores.json").exists()


def test_a_checkpoint_too_large_is_refused_before_anything_runs(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(machine)
    download(machine, *WHOLE)
    with (next((machine / "hub").glob("*/snapshots/*/checkpoints")) / "model.ckpt").open("r+b") as checkpoint:
        checkpoint.truncate(3 * 2**30)
    monkeypatch.setattr(comet, "free_memory_gib", lambda: 5.0)
    assert scored(machine, "--comet") == 2
    assert "checkpoint of 3.0 GiB takes about 6 GiB of main memory, 5 GiB are free" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho noise >&2\necho 'the GPU is full' >&2\nexit 2\n", "the GPU is full"),
        ("#!/bin/sh\nkill -9 $$\n", "too much memory"),
        ("#!/bin/sh\necho Traceback >&2\necho 'KeyError: 1' >&2\nexit 1\n", "exit code 1, KeyError: 1"),
    ],
)
def test_a_worker_that_fails_leaves_no_scores(
    machine: Path, capsys: pytest.CaptureFixture[str], script: str, message: str
) -> None:
    install(machine, script)
    download(machine, *WHOLE)
    assert scored(machine, "--comet") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (machine / "run" / "scores.json").exists()


def test_scores_of_segments_are_kept_and_averaged(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(machine)
    download(machine, *WHOLE)
    monkeypatch.setenv("COMET", "1")
    assert scored(machine) == 0
    out = capsys.readouterr().out
    assert "COMET: Unbabel/XCOMET-XL@01234567, 1 s on cpu, 2 MiB" in out
    tree = json.loads((machine / "run" / "scores.json").read_text(encoding="utf-8"))
    segments = read_segments(machine / "run", tree["signature"])
    assert [segment.comet for segment in segments] == [1 - 0.25 * number for number in range(len(segments))]
    mean = sum(segment.comet or 0.0 for segment in segments) / len(segments)
    assert tree["comet"]["score"] == pytest.approx(mean)
    assert alignatt(["compare", str(machine / "run")]) == 0
    assert "COMET: Unbabel/XCOMET-XL@01234567" in capsys.readouterr().out
    interval = compare_runs({"run": RunStatistics.of(segments)}, "run").scores["run"]["comet"]
    assert interval.value == pytest.approx(mean)
    assert interval.low < mean < interval.high


@pytest.mark.slow
@pytest.mark.skipif(not ENVIRONMENT.is_file(), reason="the COMET environment is not there (make comet-env)")
def test_the_real_path_on_a_tiny_xcomet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    builder = PROJECT / "tests" / "tiny_xcomet.py"
    made = subprocess.run(
        [ENVIRONMENT, "-I", builder, hub], env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, check=False
    )
    assert made.returncode == 0, made.stderr.decode()
    assert scored(tmp_path, "--comet") == 0
    assert "COMET: Unbabel/XCOMET-XL@00000000" in capsys.readouterr().out
    first = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))
    segments = read_segments(tmp_path / "run", first["signature"])
    kept = [segment.comet for segment in segments]
    assert all(score is not None for score in kept)
    assert len(set(kept)) > 1
    assert first["comet"]["score"] == pytest.approx(sum(score or 0.0 for score in kept) / len(kept), abs=1e-6)
    # The same model as a folder: another name, the same figures.
    folder = next((hub / "models--Unbabel--XCOMET-XL" / "snapshots").iterdir())
    assert scored(tmp_path, "--comet-model", folder) == 0
    again = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))
    assert again["comet"]["score"] == first["comet"]["score"]
    assert again["comet"]["model"].startswith("0" * 40 + "@")


def test_scores_of_different_models_are_not_compared(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(machine)
    download(machine, *WHOLE, *(file.replace("XCOMET-XL", "other") for file in WHOLE[:2]))
    for name, model in (("a", "Unbabel/XCOMET-XL"), ("b", "Unbabel/other")):
        (machine / name).mkdir()
        assert scored(machine / name, "--comet-model", model) == 0
    capsys.readouterr()
    runs = [str(machine / name / "run") for name in "ab"]
    assert alignatt(["compare", *runs]) == 0
    table, test = capsys.readouterr().out.split("Paired bootstrap")
    assert "COMET: Unbabel/XCOMET-XL@01234567, Unbabel/other@01234567" in table
    assert "BLEU" in test
    assert "COMET" not in test
