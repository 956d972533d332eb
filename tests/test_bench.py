"""The benchmarks on few words: what they count, compare and write. Not how long it takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from test_fewer_tokens import spoken

from agent.asr.record import Recording, Step, write_recording
from agent.config import load, preset_path
from agent.mt.config import MtConfig
from bench import __main__ as command
from bench import fewer_tokens, transformers_rows
from bench.parts import PARTS, Options
from bench.result import Result, shown, table, write, write_page
from bench.skeletons.text import write_skeleton

RESULT = Result("rows", "Rows", "What it costs.", ("way", "ms", "off"), (("a", 1.5, None), ("b", 1234.5, 2e-6)))


def test_a_table_shows_every_figure_as_people_read_it() -> None:
    assert [shown(cell) for cell in (None, "a", 7, 0.0, 0.123, 12.345, 1234.5, 2e-6)] == [
        *("", "a", "7", "0.00", "0.12", "12.35", "1234", "2.0e-06"),
    ]
    assert table(RESULT.columns, RESULT.rows) == [
        "| way | ms | off |",
        "|---|---:|---:|",
        "| a | 1.50 |  |",
        "| b | 1234 | 2.0e-06 |",
    ]


def test_a_result_says_where_it_was_measured(tmp_path: Path) -> None:
    write(RESULT, tmp_path)
    write_page(tmp_path, ["absent", "rows"])
    kept = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert kept["rows"][1] == ["b", 1234.5, 2e-6]
    assert kept["machine"]["cores"] >= 1
    assert {"python", "torch", "transformers"} <= set(kept["versions"])
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "## Rows\n\nWhat it costs.\n\n| way | ms | off |" in page
    assert f"torch {kept['versions']['torch']}" in page


def test_the_command_writes_one_part_and_knows_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fewer_tokens, "measure", lambda options: RESULT)
    monkeypatch.setattr(sys, "argv", ["bench", "fewer-tokens", "--output", str(tmp_path)])
    command.main()
    assert (tmp_path / "rows.json").is_file()
    assert "1234" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench", "nothing"])
    with pytest.raises(SystemExit):
        command.main()
    said = capsys.readouterr().err
    assert all(part in said for part in PARTS)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench", "--gpu"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "no GPU" in capsys.readouterr().err


def test_decoded_tokens_are_counted_for_every_setting(tmp_path: Path) -> None:
    steps = spoken(["The teacher repairs the old machine in the garden."])
    recorded = tuple(Step(8000, f"{number:064x}", step) for number, step in enumerate(steps[:-1]))
    chunk = load(preset_path("ende-low")).speech_chunk_size
    write_recording(Recording("0" * 64, "test", recorded, steps[-1]), tmp_path).rename(
        tmp_path / f"talk-{chunk}.asr.jsonl"
    )
    options = Options((Path("talk.flac"),), tmp_path, presets=("ende-low",))
    result = fewer_tokens.measure(options)
    totals = {row[1]: dict(zip(result.columns, row, strict=True)) for row in result.rows if row[0] == "all"}
    assert list(totals) == list(fewer_tokens.SETTINGS)
    assert {row["same text"] for row in totals.values()} == {"yes"}
    assert len({row["committed tokens"] for row in totals.values()}) == 1
    decoded = {name: float(str(row["decoded"])) for name, row in totals.items()}
    assert decoded["all three"] < min(decoded["early stop"], decoded["reuse"]) < decoded["plain drafts"]
    # Each row of the only preset is the total.
    assert [row[1:] for row in result.rows if row[0] == "ende-low"] == [row[1:] for row in result.rows[:5]]


@pytest.mark.slow
def test_all_ways_to_rows_agree_on_a_skeleton(tmp_path: Path) -> None:
    write_skeleton(tmp_path, n_layers=12, logit_size=transformers_rows.LOGIT_SIZE)
    rows = transformers_rows.compare("small", MtConfig(model=str(tmp_path)), Options(n_prompts=2, n_tokens=3))
    ways = {str(row[1]): row[2:] for row in rows}
    assert {row[3] for row in ways.values()} == {"2 of 2"}
    assert ways["SDPA, no rows"][2] == 1.0
    differences = {name: row[4] for name, row in ways.items() if row[4] is not None}
    assert set(differences) == {name for name in ways if "capture" in name}
    assert max(map(float, map(str, differences.values()))) < 2e-5
