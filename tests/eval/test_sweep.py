"""Sweeps: the same cells from a specification whoever does them, the same result files after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from short_talk import write_beginning

from agent.cli.main import alignatt
from agent.errors import UserError
from agent.run.folder import LOG, MANIFEST, SCORES, TRACE
from eval.sweep import run, summary, work
from eval.sweep.run import Resources
from eval.sweep.spec import Sweep, read_spec

KILLED = """
import os, signal, sys
from pathlib import Path
from eval.sweep import run, work
from eval.sweep.spec import read_spec
write, left = work.write_json, [4]  # a manifest and a result for each cell
def killing(path, tree):
    left[0] -= 1
    if not left[0]:
        path.with_name(".half").write_text(str(tree)[:40])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, tree)
work.write_json = killing
run.run(read_spec(Path(sys.argv[1]), Path(sys.argv[2])), run.Resources())
"""


def write_spec(folder: Path, **changes: object) -> Path:
    """A specification over the first sentences of a demo talk: five cells at one chunk length."""
    talk = write_beginning(folder / "references", 2)
    spec = {
        "directions": ["en-de"],
        "talks": {"dev": {"audio": [str(talk)], "references": str(talk.parent)}},
        "set": {"mt.max_draft_tokens": 10},
        "grid": {"speech_chunk_size": [1.0]},
        "policies": {
            "alignatt": {"policy.margin_words": [1, 2]},
            "wait-k": [{"policy.k": 2}, {"policy.k": 3}],
            "offline": {},
        },
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**spec, **changes}), encoding="utf-8")
    return path


def results(sweep: Sweep) -> dict[str, bytes]:
    """Every result file; hidden ones are what a killed process leaves."""
    folders = (sweep.output / "results", sweep.output / "recordings")
    return {path.name: path.read_bytes() for folder in folders for path in folder.glob("[!.]*")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep done at one go."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = read_spec(write_spec(folder), folder / "out")
    assert run.run(sweep, Resources()) == 6
    return sweep


def test_cells_are_policies_times_grids(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, directions=["en-de", "en-it"], grid={"speech_chunk_size": [0.5, 1.0]})
    sweep = read_spec(spec, tmp_path)
    assert len(sweep.cells) == 2 * (2 * 2 + 2 * 2 + 1)
    assert len({cell.id for cell in sweep.cells}) == len(sweep.cells)
    assert len(sweep.records) == 2, "both directions hear the same recording"
    assert {cell.tree["mt"]["max_draft_tokens"] for cell in sweep.cells} == {10}
    assert sweep.cells[0].name == "chunk=0.5 margin_words=1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"polices": {}}, "unknown key 'polices'. Did you mean 'policies'"),
        ({"policies": {"alignatt": {"policy.margin": [1]}}}, "margin"),
        ({"policies": {"alignat": {}}}, "alignat"),
        ({"grid": {"speech_chunk_size": 1.0}}, "grid.speech_chunk_size must be a list"),
        ({"directions": ["ende"]}, "a direction is <source>-<target>"),
        ({"talks": {"dev": {"audio": ["x.flac"]}}}, "wants audio (files) and references"),
        ({"talks": {}}, "talks missing"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_spec(write_spec(tmp_path, **changes), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_sweep_goes_on_to_the_same_files(done: Sweep, tmp_path: Path) -> None:
    spec = done.output.parent / "spec.yaml"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(spec), str(tmp_path)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    sweep = read_spec(spec, tmp_path)
    assert len(list((tmp_path / "results").glob("[!.]*"))) == 1
    assert run.run(sweep, Resources()) == 4
    assert results(sweep) == results(done)
    assert run.run(sweep, Resources()) == 0


@pytest.mark.slow
def test_a_failed_cell_is_named_and_the_others_are_done(done: Sweep, tmp_path: Path) -> None:
    broken = replace(done.cells[0], recordings={"demo-talk-1": "gone"})
    with pytest.raises(UserError, match=r"1 of 2 jobs \(cells\) failed, .*Cannot read the recording"):
        run.run(replace(done, output=tmp_path, cells=(broken, done.cells[-1])), Resources())
    assert work.result_path(tmp_path, done.cells[-1]).is_file()
    assert "Cannot read" in (tmp_path / "logs" / f"{broken.id}.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_cells_are_run_folders_with_scores_and_traces(done: Sweep) -> None:
    for cell in done.cells:
        folder = done.output / "runs" / cell.id
        assert {path.name for path in folder.iterdir()} >= {LOG, TRACE, MANIFEST, SCORES}
        result = json.loads(work.result_path(done.output, cell).read_text(encoding="utf-8"))
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        assert result["bleu"] == scores["bleu"] > 0
        assert "rtf" not in result, "times of computation are kept only from cells that had their device alone"
        assert (result["cu_long_yaal_ms"] is None) == (cell.policy == "offline")


@pytest.mark.slow
def test_front_and_winners(done: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    found = summary.read_results(done)
    front = summary.pareto(found)
    assert [r["cu_long_yaal_ms"] for r in front] == sorted(r["cu_long_yaal_ms"] for r in front)
    assert [r["bleu"] for r in front] == sorted(r["bleu"] for r in front)
    best = {(w.regime, w.policy): w for w in summary.winners(found, done.sets[0].name)}
    regimes = ("low", "low =", "high", "high =")
    assert set(best) == {(regime, policy) for regime in regimes for policy in ("alignatt", "wait-k")}
    within = [r["bleu"] for r in found if r["policy"] == "wait-k" and r["cu_long_yaal_ms"] <= 4000]
    assert best["high", "wait-k"].results["dev"]["bleu"] == max(within)
    summary.show(done, found)
    printed = capsys.readouterr().out
    assert "Pareto front" in printed
    assert "95 % interval" in printed
    drawn = summary.draw(done, found)
    assert [path.name for path in drawn] == ["quality-latency-en-de-dev.svg", "quality-latency-en-de-dev.png"]
    svg = drawn[0].read_text(encoding="utf-8")
    assert svg.count('id="point-') == 4
    assert all(name in svg for name in ("alignatt", "wait-k", "offline cascade"))
    assert (done.output / "summary.json").is_file()


def test_equal_latency_is_that_of_the_baseline() -> None:
    figures = [("alignatt", 70.0, 1500), ("alignatt", 71.0, 1520), ("cut-last", 60.0, 1510), ("cut-last", 65.0, 1544)]
    figures += [("cut-last", 69.0, 1700), ("paper", 50.0, 4600), ("offline", 80.0, None)]
    same = {"direction": "en-de", "talks_set": "dev"}
    rows = [
        {**same, "policy": policy, "name": f"{key}", "keys": {"k": key}, "bleu": bleu, "cu_long_yaal_ms": cu_ms}
        for key, (policy, bleu, cu_ms) in enumerate(figures)
    ]
    best = {(w.regime, w.policy): (w.results["dev"]["bleu"], w.kept) for w in summary.winners(rows, "dev")}
    assert {key: best[key] for key in best if key[0].startswith("low")} == {
        ("low", "alignatt"): (71.0, True),
        ("low", "cut-last"): (69.0, True),
        ("low", "paper"): (50.0, False),
        ("low =", "alignatt"): (71.0, True),
        ("low =", "cut-last"): (65.0, True),
        ("low =", "paper"): (50.0, False),
    }


@pytest.mark.slow
def test_slurm_lists_the_same_cells(done: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    output, spec = done.output, done.output.parent / "spec.yaml"
    options = [
        "--output",
        str(output),
        *["--gpus-per-cell", "1", "--alone", "--workers", "4", "--sbatch", "partition=gpu"],
    ]
    assert alignatt(["sweep", str(spec), "--slurm", *options, "--sbatch", "partition=gpu"]) == 0
    assert str(output / "submit.sh") in capsys.readouterr().out
    for stage, jobs in (("record", done.records), ("cells", done.cells)):
        listed, folder = work.read_jobs(output / f"{stage}.json")
        assert (tuple(listed), folder) == (jobs, output)
        script = (output / f"{stage}.sbatch").read_text(encoding="utf-8")
        assert f"--array=0-{len(jobs) - 1}%4" in script
        assert "#SBATCH --partition=gpu" in script
    assert "--gpus-per-task=1" in script
    assert "$SLURM_ARRAY_TASK_ID --alone" in script
    for name in ("record.sbatch", "cells.sbatch", "submit.sh"):
        assert subprocess.run(["bash", "-n", str(output / name)], check=False).returncode == 0


def test_alone_wants_a_device_for_each_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--output", str(tmp_path / "out"), "--alone", "--workers", "2"]
    assert alignatt(["sweep", str(write_spec(tmp_path)), *options]) == 2
    assert "one cell per device" in capsys.readouterr().err


@pytest.mark.slow
def test_ray_gives_the_same_files(done: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    sweep = read_spec(done.output.parent / "spec.yaml", tmp_path)
    try:
        n_done = run.run(sweep, Resources(workers=2, ray="local"))
    except UserError as error:
        if "Ray does not start" in str(error):
            pytest.skip(f"Ray gives its processes 30 s to start, too little for this machine ({error})")
        raise
    assert n_done == 6
    assert results(sweep) == results(done)
