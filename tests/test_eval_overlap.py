"""``alignatt overlap``: two schedules on the clock of a live stream."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.cli.main import alignatt
from agent.errors import UserError
from eval.inputs.log import Talk
from eval.overlap import Chunk, beside_aligner, chunks_of, in_turn, read_stages, shifted

STAGES = ("wait", "vad", "asr", "align", "prefill", "decode", "replay", "policy")


def stream(n: int, recognition_s: float, translation_s: float) -> list[Chunk]:
    """Chunks of one second."""
    return [Chunk(float(number + 1), recognition_s, translation_s) for number in range(n)]


def test_what_runs_beside_the_aligner_is_saved_in_every_chunk() -> None:
    chunks = [replace(chunk, beside_s=0.125) for chunk in stream(3, 0.5, 0.75)]
    assert [at_s for _, at_s in in_turn(chunks)] == [2.25, 3.5, 4.75]
    assert [at_s for _, at_s in beside_aligner(chunks)] == [2.125, 3.25, 4.375]


def trace(n: int, seconds: float, n_drafts: int = 1) -> list[dict[str, object]]:
    steps = [{"n_calls": 1}] * n_drafts + [{}]
    return [{"stream": 0, "chunk_s": 1.0, "stages_s": dict.fromkeys(STAGES, seconds), "steps": steps} for _ in range(n)]


def step(number: int, *tokens: str) -> dict[str, object]:
    return {
        "total_audio_processed": float(number),
        "computation_time": 9.0,
        "generated_tokens": [*tokens],
        "deleted_tokens": [],
    }


def test_recognition_is_told_from_the_rest_and_the_end_belongs_to_the_last_chunk() -> None:
    talk = Talk("a", 0, (step(1, "x"), step(2, "y")))
    chunks = chunks_of(talk, trace(3, 0.125), 2.0)
    assert [(chunk.recognition_s, chunk.translation_s) for chunk in chunks] == [(0.75, 1.25), (1.5, 2.5)]
    assert [chunk.beside_s for chunk in chunks] == [0.25, 0.5]
    # Four drafts of a chunk share 0.375 s of the model.
    four = chunks_of(talk, trace(2, 0.125, 4), 1.0)
    assert [chunk.beside_s for chunk in four] == [0.09375, 0.09375]
    with pytest.raises(UserError, match="2 steps in the log and 5 in the trace"):
        chunks_of(talk, trace(5, 0.125), 1.0)


def test_text_moves_to_the_chunk_and_the_time_it_comes_at() -> None:
    talk = shifted(Talk("a", 0, (step(1, "x"), step(2, "y"))), [(1, 2.5), (1, 2.75)])
    assert [one["generated_tokens"] for one in talk.steps] == [[], ["x", "y"]]
    assert [one["computation_time"] for one in talk.steps] == [0.0, 0.75]


def test_a_folder_without_stage_times_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"no trace\.jsonl"):
        read_stages(tmp_path)
    (tmp_path / "trace.jsonl").write_text(json.dumps({"stream": 0}) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="nothing about stages"):
        read_stages(tmp_path)
    assert alignatt(["overlap", str(tmp_path / "nothing")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_run_whose_stages_did_not_take_turns_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trace.jsonl").touch()
    run = SimpleNamespace(config={"session": {"overlap": "aligner"}})
    monkeypatch.setattr("eval.overlap.open_run", lambda *_: run)
    assert alignatt(["overlap", str(tmp_path)]) == 2
    assert "session.overlap=aligner" in capsys.readouterr().err
