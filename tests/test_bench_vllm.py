"""vLLM benchmarks: what they compute from measured rounds, and the models that they run on. No engine is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from agent.errors import UserError
from bench import vllm_capture, vllm_engine, vllm_sessions
from bench.vllm_engine import Round
from bench.vllm_sessions import Run
from bench.vllm_shapes import prompts, shape


def test_a_ratio_compares_rounds_that_follow_each_other() -> None:
    def timed(wall_s: float) -> Round:
        return Round(wall_s, wall_s / 2, 0.004, 0.002, [[1] * 20, [2] * 20])

    # A busy machine makes the second pair three times as slow, both engines alike.
    pairs = [(timed(1.0), timed(1.1)), (timed(3.0), timed(3.3)), (timed(1.2), timed(1.2))]
    *times, tokens, replay_ms, fetch_ms = vllm_capture.summarise(pairs, 20)
    assert times == pytest.approx([30.0, 30.0, 1.1, 1.1])
    assert (tokens, replay_ms, fetch_ms) == ("same", pytest.approx(2.0), pytest.approx(1.0))


def test_tokens_that_differ_are_said_to() -> None:
    pair = (Round(1.0, 1.0, 0.0, 0.0, [[1]]), Round(1.0, 1.0, 0.0, 0.0, [[2]]))
    assert "differ" in vllm_capture.summarise([pair], 1)


def test_streams_are_compared_with_one_at_a_time_of_the_same_round() -> None:
    alone = [Run(4.0, 3.0, ((1, 2), (3, 4))), Run(8.0, 3.0, ((1, 2), (3, 4)))]
    together = [Run(1.0, 1.0, ((1, 2), (3, 4))), Run(2.0, 1.0, ((1, 2), (3, 5)))]
    assert vllm_sessions.summarise(alone, together) == pytest.approx((3.0, 4.0, 250.0, "differs"))


def test_the_embedded_model_is_captured_at_eight_heads_of_its_own() -> None:
    embedded = shape("embedded", Path())
    config = AutoConfig.from_pretrained(embedded.folder)
    assert len(set(embedded.heads)) == 8
    assert all(layer < config.num_hidden_layers for layer, _ in embedded.heads)


def test_e4b_has_the_published_shape(tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(shape("e4b", tmp_path).folder)
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
        vllm_engine.require_vllm()
