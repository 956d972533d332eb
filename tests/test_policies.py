"""The comparison of policies on recorded speech: one grid, a choice from it, and a test against alignatt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import yaml

from agent.audio import decode
from eval import policies
from eval.bootstrap import RunStatistics
from eval.score import Options
from heads import streaming

PROJECT = Path(__file__).parents[1]
TALKS = PROJECT / "demo" / "talks"
N_SEGMENTS = 3


@pytest.fixture
def short_talk(tmp_path: Path) -> Path:
    """The first sentences of the first demo talk, with their references, in a folder."""
    every = yaml.safe_load((TALKS / "audio-segments.yaml").read_text(encoding="utf-8"))
    segments = every[:N_SEGMENTS]
    end_s = segments[-1]["offset"] + segments[-1]["duration"] + 0.6
    (tmp_path / "audio-segments.yaml").write_text(yaml.safe_dump(segments), encoding="utf-8")
    for lang in ("en", "de"):
        lines = (TALKS / f"ref.{lang}.txt").read_text(encoding="utf-8").splitlines()[:N_SEGMENTS]
        (tmp_path / f"ref.{lang}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    talk = TALKS / Path(segments[0]["wav"]).with_suffix(".flac").name
    soundfile.write(tmp_path / talk.name, decode(talk)[: int(end_s * 16_000)], 16_000, subtype="PCM_16")
    return tmp_path / talk.name


def compare(monkeypatch: pytest.MonkeyPatch, talk: Path, *options: str) -> None:
    base = ["policies", "--target", "de", "--talks", str(talk), "--references", str(talk.parent)]
    recordings = ["--recordings", str(talk.parent / "recordings"), "--chunks", "1.0"]
    monkeypatch.setattr("sys.argv", [*base, *recordings, *options])
    policies.main()


@pytest.mark.slow
def test_a_grid_a_choice_and_a_test(
    short_talk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "alignatt": [{"policy.margin_words": 3}],
        "cut-last": [{"policy.cut_words": 2}],
        "offline": [{}],
    }
    monkeypatch.setattr(policies, "SETTINGS", settings)
    grid, chosen = short_talk.parent / "grid.json", short_talk.parent / "chosen.json"
    compare(monkeypatch, short_talk, "--policies", *settings, "--output", str(grid))
    rows = json.loads(grid.read_text())
    assert [row["policy"] for row in rows] == ["alignatt", "cut-last", "offline"]
    offline = rows[-1]
    assert offline["cu_ms"] is None
    assert offline["bleu"] > 20
    assert all(0 < row["cu_ms"] < 4000 for row in rows[:-1])

    compare(monkeypatch, short_talk, "--choose", str(grid), "--output", str(chosen))
    again = {row["name"]: row for row in json.loads(chosen.read_text())}
    assert all(again[row["name"]] == row for row in rows if row["name"] in again), (
        "the same input gives the same figures"
    )
    tested = json.loads(chosen.with_suffix(".tests.json").read_text())
    assert {(row["point"], row["policy"], row["metric"]) for row in tested} == {
        (point, "cut-last", metric) for point in policies.POINTS for metric in ("bleu", "cu_ms")
    }
    best = policies.winners(rows, {"high": 3900})
    expected = best["high", "cut-last"]["bleu"] - best["high", "alignatt"]["bleu"]
    value = next(row["value"] for row in tested if (row["point"], row["metric"]) == ("high", "bleu"))
    assert value == pytest.approx(expected, abs=1e-9)
    assert "paired bootstrap over segments" in capsys.readouterr().out


@pytest.mark.slow
def test_numbers_of_heads_share_drafts_and_get_what_each_alone_would(
    short_talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "TOP_K", (1, 0))
    base, results = short_talk.parent, short_talk.parent / "heads.json"
    given = ["--talks", str(short_talk), "--references", str(base), "--recordings", str(base / "recordings")]
    monkeypatch.setattr("sys.argv", ["streaming", *given, "--margins", "2", "--output", str(results)])
    streaming.main()
    rows = json.loads(results.read_text())
    assert [row["heads"] for row in rows] == ["top-1", "all"]
    recordings = policies.record([short_talk], streaming.CHUNK_S, base / "recordings")
    options = Options(segments=base / "audio-segments.yaml", references=base, talks=(short_talk.stem,))
    for row in rows:
        cell = policies.Cell("alignatt", streaming.CHUNK_S, row["keys"])
        alone, _ = policies.run_cell(cell, "de", policies.Models(remember=False), recordings, options)
        assert row["bleu"] > 20
        assert row.items() >= alone.items()
    first, every = rows
    gain = every["minus_first"]["bleu"]
    assert gain["value"] == pytest.approx(every["bleu"] - first["bleu"], abs=1e-9)
    assert gain["low"] <= gain["value"] <= gain["high"]


def test_every_policy_gets_as_many_settings() -> None:
    counts = {policy: len(settings) for policy, settings in policies.SETTINGS.items() if policy != "offline"}
    assert len(set(counts.values())) == 1
    cells = policies.grid(list(policies.SETTINGS), policies.CHUNKS_S)
    assert len({cell.name for cell in cells}) == len(cells) == 1 + sum(counts.values()) * len(policies.CHUNKS_S)
    assert all(cell.config("zh").policy.name == cell.policy for cell in cells)


def test_the_winner_is_the_best_within_the_limit_or_else_the_fastest() -> None:
    rows = [
        {"policy": "wait-k", "bleu": 60.0, "cu_ms": 1500},
        {"policy": "wait-k", "bleu": 70.0, "cu_ms": 2500},
        {"policy": "paper", "bleu": 50.0, "cu_ms": 2600},
        {"policy": "paper", "bleu": 55.0, "cu_ms": 2700},
        {"policy": "offline", "bleu": 80.0, "cu_ms": None},
    ]
    best = policies.winners(rows, {"low": 1900, "high": 3900})
    assert {key: row["bleu"] for key, row in best.items()} == {
        ("low", "wait-k"): 60.0,
        ("low", "paper"): 50.0,
        ("high", "wait-k"): 70.0,
        ("high", "paper"): 55.0,
    }


def test_equal_latency_is_the_latency_of_alignatt() -> None:
    rows = [
        {"policy": "alignatt", "bleu": 70.0, "cu_ms": 1500},
        {"policy": "alignatt", "bleu": 71.0, "cu_ms": 1520},
        {"policy": "cut-last", "bleu": 60.0, "cu_ms": 1510},
        {"policy": "cut-last", "bleu": 65.0, "cu_ms": 1544},
        {"policy": "cut-last", "bleu": 69.0, "cu_ms": 1700},
    ]
    chosen = policies.choose(rows, {"low": 1900})
    assert {key: row["bleu"] for key, row in chosen.items()} == {
        ("low", "alignatt"): 71.0,
        ("low", "cut-last"): 69.0,
        ("low =", "alignatt"): 71.0,
        ("low =", "cut-last"): 65.0,
    }


def test_nothing_is_tested_without_alignatt() -> None:
    statistics: dict[str, RunStatistics] = {}
    assert list(policies.behind_alignatt({"wait-k k=3": [("low", "wait-k")]}, statistics)) == []
