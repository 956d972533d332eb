"""The vLLM benchmark: what it computes from measured rounds, and the models that it runs on. No engine is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from agent.errors import UserError
from bench.parts import Options
from bench.skeletons.text import write_e4b
from bench.vllm_capture import best_heads, measure, prompts, summarise
from bench.vllm_engine import Round
from demo.make.model import FOLDER


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


def test_prompts_share_a_beginning_and_differ_after_it() -> None:
    first, second = prompts(2, 40, seed=1)
    assert first[:10] == second[:10]
    assert first[10:] != second[10:]
    assert len(first) == len(second) == 40


def test_without_vllm_the_benchmark_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="make vllm"):
        measure(Options())
