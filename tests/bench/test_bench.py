"""The benchmarks on few words and tiny models: what they count, compare and write. Not how long it takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scripted import spoken
from transformers import AutoConfig, AutoTokenizer

from agent.asr.record import Recording, Step, write_recording
from agent.config import load, preset_path
from agent.mt.checkpoint import end_of_turn_ids, load_model
from agent.mt.config import MtConfig
from agent.mt.drafter import DraftRequest, Head
from agent.mt.transformers import TransformersDrafter
from bench import __main__ as command
from bench import fewer_tokens, transformers_rows
from bench.parts import PARTS, Options
from bench.result import Result, shown, table, write, write_page
from bench.skeletons.text import N_HEADS, skeleton_config, write_e4b, write_skeleton
from bench.vllm_capture import best_heads, prompts, summarise
from bench.vllm_engine import Round
from demo.make.model import FOLDER

RESULT = Result("rows", "Rows", "What it costs.", ("way", "ms", "off"), (("a", 1.5, None), ("b", 1234.5, 2e-6)))


def test_a_table_shows_every_figure_as_people_read_it() -> None:
    cells = (None, "a", 7, 0.0, 0.123, 12.345, 1234.5, 2e-6)
    assert [shown(cell) for cell in cells] == ["", "a", "7", "0.00", "0.12", "12.35", "1234", "2.0e-06"]
    lines = "| way | ms | off |, |---|---:|---:|, | a | 1.50 |  |, | b | 1234 | 2.0e-06 |"
    assert ", ".join(table(RESULT.columns, RESULT.rows)) == lines


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
    written = write_recording(Recording("0" * 64, "test", recorded, steps[-1]), tmp_path)
    written.rename(tmp_path / f"talk-{chunk}.asr.jsonl")
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


def test_a_ratio_compares_rounds_that_follow_each_other() -> None:
    def timed(wall_s: float, n_drafts: int = 2) -> Round:
        return Round(wall_s, wall_s / 2, 0.004, 0.002, [[number] * 20 for number in range(n_drafts)])

    # A busy machine makes the second pair three times as slow, both engines alike.
    pairs = [(timed(1.0), timed(1.1)), (timed(3.0), timed(3.3)), (timed(1.2), timed(1.2))]
    alone, together = summarise({1: [(timed(1.0, 1), timed(1.0, 1))], 2: pairs}, 20)
    assert alone[:3] == (1, 50.0, 50.0)
    at_once, *times, tokens, replay_ms, fetch_ms = together
    assert (at_once, tokens, replay_ms, fetch_ms) == (2, "same", pytest.approx(2.0), pytest.approx(1.0))
    assert times == pytest.approx([30.0, 30.0, 1.1, 1.1])


@pytest.mark.parametrize(("stock", "capture"), [([[1]], [[2]]), ([[3]], [[3]])])
def test_tokens_that_differ_from_stock_or_from_those_drafted_alone_are_said_to(
    stock: list[list[int]], capture: list[list[int]]
) -> None:
    same = Round(1.0, 1.0, 0.0, 0.0, [[1]])
    pair = Round(1.0, 1.0, 0.0, 0.0, stock), Round(1.0, 1.0, 0.0, 0.0, capture)
    assert [row[5] for row in summarise({1: [(same, same)], 2: [pair]}, 1)] == ["same", "differ"]


def test_the_embedded_model_is_captured_at_eight_heads_of_its_own() -> None:
    heads = best_heads("embedded")
    assert len(set(heads)) == 8
    assert all(layer < AutoConfig.from_pretrained(FOLDER).num_hidden_layers for layer, _ in heads)


def test_e4b_has_the_published_shape(tmp_path: Path) -> None:
    write_e4b(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_size) == (42, 8, 2560)
    assert (config.sliding_window, config.num_kv_shared_layers, config.vocab_size) == (512, 18, 262144)
    # The skeleton has the same attention.
    narrow = skeleton_config(AutoTokenizer.from_pretrained(FOLDER))
    for key in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "layer_types", "sliding_window"):
        assert getattr(narrow, key) == getattr(config, key), key
    assert (config.num_key_value_heads, config.layer_types.count("full_attention")) == (2, 7)


def test_prompts_share_a_beginning_and_differ_after_it() -> None:
    first, second = prompts(2, 40, seed=1)
    assert first[:10] == second[:10]
    assert first[10:] != second[10:]
    assert len(first) == len(second) == 40


def test_a_small_skeleton_loads_and_drafts(tmp_path: Path) -> None:
    write_skeleton(tmp_path, n_layers=12)
    model, tokenizer = load_model(MtConfig(model=str(tmp_path)))
    assert model.config.layer_types == [*["sliding_attention"] * 5, "full_attention"] * 2
    widths = [layer.self_attn.q_proj.out_features // N_HEADS for layer in model.model.layers]
    assert widths == [*[256] * 5, 512] * 2
    ids = tuple(tokenizer("the old teacher repairs the machine", add_special_tokens=False)["input_ids"])
    heads = (Head(0, 0), Head(5, 7), Head(11, 3))  # sliding, full, with shared keys
    draft = TransformersDrafter(model, end_of_turn_ids(model, tokenizer)).draft(
        DraftRequest(ids, (1, len(ids)), (), 3, heads)
    )
    assert draft.rows.shape == (3, len(draft.token_ids), len(ids) - 1)
    assert np.isfinite(draft.rows).all()
