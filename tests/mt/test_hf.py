"""The hf engine: rows equal the eager reference, a kept KV cache changes nothing, ends and lengths, threads."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SMALL, gemma4_config, metaspace_tokenizer, random_model, save_model
from transformers import Gemma3TextConfig, LlamaConfig, Qwen3Config

from agent.errors import UserError
from agent.mt.attention import IMPLEMENTATION, eager_rows
from agent.mt.checkpoint import end_of_turn_ids, load_model
from agent.mt.config import MtConfig
from agent.mt.drafter import Draft, DraftRequest, Head
from agent.mt.transformers import TransformersDrafter

SHAPE = {**SMALL, "vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SLIDING = {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "sliding_window": 16}
CONFIGS = {
    "gemma4": gemma4_config,
    "gemma3": lambda: Gemma3TextConfig(**SHAPE, **SLIDING, query_pre_attn_scalar=16),
    "qwen3": lambda: Qwen3Config(**SHAPE),
    "llama": lambda: LlamaConfig(**SHAPE),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def all_heads(config: Any) -> tuple[Head, ...]:
    return tuple(Head(la, he) for la in range(config.num_hidden_layers) for he in range(config.num_attention_heads))


def some_ids(n: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(10, 290), k=n))


def request(prompt: int = 50, prefix: int = 4, n: int = 6, **more: Any) -> DraftRequest:
    ids = some_ids(prompt)
    heads = more.pop("heads", (Head(0, 0), Head(2, 1)))
    return DraftRequest(ids, (8, prompt - 6), some_ids(prefix, 1), n, heads, **more)


@pytest.fixture(scope="module")
def drafter() -> TransformersDrafter:
    """In float64: equal means equal, and not equal up to the noise of a random model's peaky softmax."""
    return TransformersDrafter(random_model(gemma4_config(), IMPLEMENTATION, torch.float64), ())


def reference(model: Any, asked: DraftRequest, draft: Draft) -> np.ndarray:
    """The same rows from a full pass of an eager model over prompt, prefix and draft."""
    ids = (*asked.prompt_ids, *asked.prefix_ids, *draft.token_ids)
    rows = eager_rows(model, ids, asked.heads, asked.source_span)
    first = len(asked.prompt_ids) + len(asked.prefix_ids) - (asked.row_convention == "predicting")
    return rows[:, first : first + len(draft.token_ids)].numpy()


@pytest.mark.parametrize("convention", ["own", "predicting"])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_equal_the_eager_reference_in_every_head(name: str, convention: Any) -> None:
    config = CONFIGS[name]()
    asked = request(heads=all_heads(config), row_convention=convention)
    # A random model magnifies rounding by an amount that depends on the processor; a wrong mask is off by far more.
    draft = TransformersDrafter(random_model(config, IMPLEMENTATION, torch.float64), ()).draft(asked)
    expected = reference(random_model(config, "eager", torch.float64), asked, draft)
    assert draft.rows.dtype == np.float32
    assert draft.rows.shape == (len(asked.heads), 6, 36)
    np.testing.assert_allclose(draft.rows, expected, atol=1e-4, rtol=0)
    assert expected.sum() > 1


@pytest.mark.parametrize("convention", ["own", "predicting"])
def test_rows_of_the_embedded_model_equal_the_eager_reference_in_float32(convention: Any) -> None:
    eager, _ = load_model(MtConfig(), "eager")
    config = eager.config
    assert {*config.layer_types} == {"sliding_attention", "full_attention"}
    assert config.num_kv_shared_layers
    asked = request(prompt=2 * config.sliding_window, heads=all_heads(config), row_convention=convention)
    draft = TransformersDrafter(load_model(MtConfig())[0], ()).draft(asked)
    np.testing.assert_allclose(draft.rows, reference(eager, asked, draft), atol=1e-5, rtol=0)
    assert draft.rows.sum() > 1


def test_heads_come_in_the_order_asked_for() -> None:
    config = gemma4_config()
    drafter = TransformersDrafter(random_model(config, IMPLEMENTATION), ())
    heads = (Head(5, 3), Head(0, 1), Head(5, 0), Head(2, 2))
    straight = drafter.draft(request(heads=heads)).rows
    np.testing.assert_array_equal(drafter.draft(request(heads=heads[::-1])).rows, straight[::-1])


def test_a_source_that_left_the_sliding_window_gets_no_weight() -> None:
    config = gemma4_config(window=16)
    drafter = TransformersDrafter(random_model(config, IMPLEMENTATION), ())
    asked = DraftRequest(some_ids(60), (0, 20), (), 3, (Head(0, 0), Head(2, 0)))
    rows = drafter.draft(asked).rows
    assert np.all(rows[0] == 0.0)
    assert np.all(rows[1] > 0.0)


def same(a: Draft, b: Draft, atol: float = 1e-4) -> None:
    assert a.token_ids == b.token_ids
    assert a.finish == b.finish
    np.testing.assert_allclose(a.rows, b.rows, atol=atol, rtol=0)
    np.testing.assert_allclose(a.log_probs, b.log_probs, atol=1e-4, rtol=0)


def live_steps() -> list[DraftRequest]:
    """A stream: the source grows in the middle, the prefix grows and shrinks, another stream comes between."""
    head, source, tail, target = some_ids(12, 2), some_ids(40, 3), some_ids(5, 4), some_ids(12, 5)
    steps = []
    for n_source, n_prefix, stream in zip(
        [6, 10, 10, 8, 10, 10, 10, 30, 12, 40, 4], [0, 0, 3, 2, 7, 7, 5, 5, 2, 12, 0], "aaabaaaabaa", strict=True
    ):
        ids = (*head, *source[:n_source], *tail)
        span = (len(head), len(head) + n_source)
        steps.append(DraftRequest(ids, span, target[:n_prefix], 5, (Head(1, 0), Head(4, 2), Head(5, 1)), "own", stream))
    return steps


def test_a_kept_cache_gives_the_same_drafts_as_a_fresh_drafter(drafter: TransformersDrafter) -> None:
    fresh = TransformersDrafter(drafter.model, ())
    for asked in live_steps():
        cached = drafter.draft(asked)
        same(cached, fresh.draft(DraftRequest(**{**vars(asked), "stream": ""})))
    drafter.forget("a")
    drafter.forget("b")
    drafter.forget("never seen")


def test_only_what_changed_is_computed_again(drafter: TransformersDrafter) -> None:
    first, second, third = [*live_steps()[1:3], live_steps()[4]]
    assert drafter.draft(first).n_prefilled == len(first.prompt_ids)
    drafter.draft(second)
    assert drafter.draft(third).n_prefilled < len(third.prefix_ids) + 1
    drafter.forget("a")
    assert drafter.draft(first).n_prefilled == len(first.prompt_ids)
    drafter.forget("a")


def test_a_pass_that_fails_leaves_no_cache_behind(
    drafter: TransformersDrafter, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = live_steps()[0]
    expected = drafter.draft(asked)
    layer = drafter.model.model.layers[3]
    with monkeypatch.context() as patched:
        patched.setattr(layer, "forward", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("out of memory")))
        with pytest.raises(RuntimeError, match="out of memory"):
            drafter.draft(live_steps()[1])
    again = drafter.draft(asked)
    same(again, expected)
    assert again.n_prefilled == len(asked.prompt_ids)
    drafter.forget("a")


def test_without_heads_the_tokens_are_the_same_and_there_are_no_rows(drafter: TransformersDrafter) -> None:
    plain = drafter.draft(request(heads=()))
    assert plain.rows.shape == (0, 6, 36)
    assert plain.token_ids == drafter.draft(request()).token_ids


def test_tokens_and_log_probabilities_are_greedy(drafter: TransformersDrafter) -> None:
    asked = request()
    draft = drafter.draft(asked)
    ids = torch.tensor([[*asked.prompt_ids, *asked.prefix_ids, *draft.token_ids]])
    with torch.inference_mode():
        log_probs = torch.log_softmax(drafter.model(ids).logits[0].float(), dim=-1)
    for index, token in enumerate(draft.token_ids):
        position = len(asked.prompt_ids) + len(asked.prefix_ids) + index - 1
        assert int(log_probs[position].argmax()) == token
        assert draft.log_probs[index] == pytest.approx(float(log_probs[position, token]), abs=1e-4)


@pytest.mark.parametrize("convention", ["own", "predicting"])
def test_the_end_of_turn_ends_the_draft_and_is_not_in_it(drafter: TransformersDrafter, convention: Any) -> None:
    asked = request(n=8, row_convention=convention)
    full = drafter.draft(asked)
    later = next(i for i, token in enumerate(full.token_ids) if i and token not in full.token_ids[:i])
    for stop in (0, later):
        ended = TransformersDrafter(drafter.model, (full.token_ids[stop],)).draft(asked)
        assert ended.token_ids == full.token_ids[:stop]
        assert (full.finish, ended.finish) == ("length", "end_of_turn")
        assert ended.rows.shape == (2, stop, 36)
        np.testing.assert_allclose(ended.rows, full.rows[:, :stop], atol=1e-4)
        assert len(ended.log_probs) == stop


def test_a_length_bound_draft_has_the_own_row_of_its_last_token(drafter: TransformersDrafter) -> None:
    short, long = (drafter.draft(request(n=n, row_convention="own")) for n in (3, 4))
    assert len(short.token_ids) == 3
    np.testing.assert_allclose(short.rows, long.rows[:, :3], atol=1e-4)
    assert (short.n_forward, drafter.draft(request(n=3)).n_forward) == (3, 2)


def test_threads_that_draft_at_once_get_their_own_rows(drafter: TransformersDrafter) -> None:
    requests = [request(prompt=40 + i, stream=f"t{i}", heads=(Head(i % 6, i % 4),)) for i in range(4)]
    expected = [TransformersDrafter(drafter.model, ()).draft(asked) for asked in requests]
    found: dict[int, list[Draft]] = {i: [] for i in range(4)}

    def work(index: int) -> None:
        for _ in range(3):
            found[index].append(drafter.draft(requests[index]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, drafts in found.items():
        assert len(drafts) == 3
        for draft in drafts:
            same(draft, expected[index])


def test_a_saved_model_loads_with_its_end_tokens_and_says_what_is_missing(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="No model folder"):
        load_model(MtConfig(model=str(tmp_path / "nothing")))
    with pytest.raises(UserError, match=r"no \*\.safetensors weights"):
        load_model(MtConfig(model=str(tmp_path)))
    save_model(tmp_path)
    model, tokenizer = load_model(MtConfig(model=str(tmp_path), device="cpu"))
    assert end_of_turn_ids(model, tokenizer) == metaspace_tokenizer().convert_tokens_to_ids(["<eos>", "<turn|>"])
    assert model.config._attn_implementation == IMPLEMENTATION
    with pytest.raises(UserError, match=r"mt\.dtype"):
        load_model(MtConfig(model=str(tmp_path), dtype="float33"))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"Cannot load mt\.model"):
        load_model(MtConfig(model=str(tmp_path), device="cpu"))
