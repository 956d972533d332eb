"""Rows, scores, selection: planted heads are found, batches equal the eager reference, interruptions are survived."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import OWN, PREDICTING, planted_model, planted_pairs, planted_tokenizer
from tiny import gemma4_config, metaspace_tokenizer, random_model

from agent.errors import UserError
from agent.mt.attention import IMPLEMENTATION, eager_rows
from agent.mt.config import PromptConfig
from agent.mt.head_sets import load, save
from agent.mt.prompt import PromptLayout
from heads.calibrate import Subject, calibrate, signature
from heads.capture import ROW_SCALE
from heads.score import (
    AlignedPair,
    PairRows,
    RowStore,
    all_heads,
    collect,
    count_distances,
    cut_short,
    force,
    run_batch,
    unheard_auc,
)
from heads.select import Candidate, MeanRows, bootstrap, greedy, score_heads, winner

PLAIN = PromptConfig(system="", header="")


@pytest.fixture(scope="module")
def planted() -> Subject:
    torch.set_num_threads(1)
    tokenizer = planted_tokenizer()
    layout = PromptLayout(tokenizer, PLAIN, "en", "de")
    return Subject(planted_model(tokenizer, IMPLEMENTATION), tokenizer, layout, "planted", "en-de")


def test_planted_heads_are_recovered_exactly(planted: Subject) -> None:
    done = calibrate(planted, planted_pairs(40), {}, batch_size=7)
    for convention, heads in (("own", OWN), ("predicting", PREDICTING)):
        ranked = done.head_set.scores[convention]  # type: ignore[index]
        assert {scored.head for scored in ranked[:2]} == set(heads)
        for scored in ranked[:2]:
            assert [scored.score, scored.low, scored.high, scored.published] == pytest.approx([1.0] * 4)
            assert scored.not_heard > 0.5
        assert ranked[2].score < 0.7
    assert set(done.head_set.select().heads) <= set(OWN if done.head_set.convention == "own" else PREDICTING)
    assert done.head_set.provenance["mean_row"]["ts_held_out"] == pytest.approx(1.0)


TEXT = "Der alte Lehrer repariert die Maschine im Garten."


def random_pairs() -> list[AlignedPair]:
    spans = tuple((m.start(), m.end()) for m in re.finditer(r"\S+", TEXT))
    full = ("The", "old", "teacher", "repairs", "the", "machine", "in", "the", "garden.")
    sources = tuple(frozenset({n}) for n in (0, 1, 2, 3, 4, 5, 6, 8))
    return [
        AlignedPair(full, TEXT, spans, sources),
        AlignedPair(full, TEXT, spans, sources, n_heard=4),
        AlignedPair(full[:3], TEXT[:15], spans[:3], sources[:3]),
    ]


def test_a_padded_batch_equals_the_eager_reference() -> None:
    tokenizer = metaspace_tokenizer()
    layout = PromptLayout(tokenizer, PromptConfig(), "en", "de")
    model = random_model(gemma4_config(), IMPLEMENTATION)
    forced = [f for f in (force(tokenizer, layout, pair) for pair in random_pairs()) if f]
    assert len({len(f.ids) for f in forced}) == 3
    heads = all_heads(model)
    assert len(heads) == 24
    results = run_batch(model, forced, heads)
    eager = random_model(gemma4_config(), "eager")
    for item, rows in zip(forced, results, strict=True):
        start, end = item.wanted.source_span
        full = eager_rows(eager, item.ids, heads, (0, len(item.ids)))[:, list(item.wanted.positions)].numpy()
        expected = np.stack(np.split(full, 2, axis=1))
        source = expected[..., start:end]
        read = rows.rows.astype(float) / ROW_SCALE
        np.testing.assert_allclose(read, source[:, :, rows.first], rtol=1e-2, atol=1e-4)
        ordered = np.sort(source, axis=-1)
        clear = ordered[..., -1] - ordered[..., -2] > 1e-4
        np.testing.assert_array_equal(rows.peaks[clear], source.argmax(axis=-1)[clear])
        outside = np.concatenate([expected[..., :start], expected[..., end:]], axis=-1).max(axis=-1)
        apart = np.abs(outside - source.max(axis=-1)) > 1e-4
        np.testing.assert_array_equal(rows.inside[apart], (source.max(axis=-1) > outside)[apart])


def test_only_what_the_policy_reads_of_a_cut_source_is_scored() -> None:
    tokenizer = metaspace_tokenizer()
    layout = PromptLayout(tokenizer, PromptConfig(), "en", "de")
    whole, cut, _ = (force(tokenizer, layout, pair) for pair in random_pairs())
    assert whole is not None
    assert cut is not None
    assert whole.first.sum() == 8
    assert cut.first.sum() == 4 + 3
    assert len(set(cut.word_of_token.tolist())) == 4
    assert cut.aligned.shape[1] == 9
    assert len(cut.ids) < len(whole.ids)
    assert force(tokenizer, layout, AlignedPair(("a", "b"), "x", ((0, 1),), (frozenset(),))) is None


def test_a_character_of_several_tokens_starts_its_unit_once() -> None:
    tokenizer = metaspace_tokenizer()
    layout = PromptLayout(tokenizer, PromptConfig(), "en", "zh")
    target = "㐂师"  # the first is not in the vocabulary: three byte tokens
    offsets = tokenizer(target, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert sum(begin == 0 for begin, _ in offsets) >= 3
    pair = AlignedPair(("happy", "teacher"), target, ((0, 1), (1, 2)), (frozenset({0}), frozenset({1})))
    forced = force(tokenizer, layout, pair)
    assert forced is not None
    assert forced.first.sum() == 2
    assert forced.first[0]
    assert len(forced.first) == len(offsets) - sum(begin == end for begin, end in offsets)


def test_sources_are_cut_inside() -> None:
    pairs = random_pairs()[:1] * 50
    heard = [pair.n_heard for pair in cut_short(pairs)]
    assert heard == [pair.n_heard for pair in cut_short(pairs)]
    assert set(heard) == set(range(3, 9))
    assert cut_short(random_pairs()[2:]) == []


def rows_of(peaks: list[int], aligned: list[set[int]], n_words: int, n_heard: int | None = None) -> PairRows:
    """One head, the same in both conventions; one token a word."""
    table = np.zeros((len(peaks), n_words), dtype=bool)
    for row, words in enumerate(aligned):
        table[row, list(words)] = True
    shown = n_words if n_heard is None else n_heard
    rows = np.zeros((2, 1, len(peaks) - 1, shown), dtype=np.float16)
    for token, peak in enumerate(peaks[:-1]):
        rows[:, 0, token, peak] = 100.0
    inside = np.asarray([[[True] * (len(peaks) - 1) + [False]]] * 2)
    first = np.asarray([True] * (len(peaks) - 1) + [False])
    shape = np.asarray([[peaks]] * 2, dtype=np.int16)
    return PairRows(shape, inside, rows, np.arange(shown), table, first, shown)


def test_shares_of_hits_are_counted_as_defined() -> None:
    pair = rows_of([0, 2, 1, 3], [{0}, {1, 2}, {3}, {3}], 4)
    assert pair.hits("own").tolist() == pytest.approx([2 / 3])  # the last token starts no unit
    assert pair.hits("own", published=True).tolist() == pytest.approx([2 / 4])  # and its peak lies outside the source


def test_unheard_units_are_counted_by_the_distance_of_their_peak() -> None:
    pair = rows_of([0, 2, 1, 0], [{0}, {1}, {3}, {0}], 4, n_heard=3)
    heard, unheard = count_distances(pair.word_of_token[pair.peaks[0]], pair, 4)
    assert heard.tolist() == [[1, 0, 1, 0]]  # distances 2 and 0
    assert unheard.tolist() == [[0, 1, 0, 0]]
    assert unheard_auc(heard, unheard).tolist() == [0.5]
    assert unheard_auc(np.array([0, 0, 5]), np.array([2, 2, 0])).item() == 1.0
    assert unheard_auc(np.array([0, 4]), np.array([0, 3])).item() == 0.5
    assert np.isnan(unheard_auc(np.array([0, 4]), np.array([0, 0])))


def test_an_interrupted_run_goes_on(planted: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, heads = planted_pairs(10), all_heads(planted.model)
    arguments: tuple[Any, ...] = (planted.model, planted.tokenizer, planted.layout)
    whole = RowStore(tmp_path / "whole", "x")
    keys = collect(*arguments, pairs, heads, whole, "whole", 4)
    passes: list[int] = []

    def stops(model: Any, batch: Any, heads: Any) -> list[PairRows]:
        if passes:
            raise KeyboardInterrupt
        passes.append(len(batch))
        return run_batch(model, batch, heads)

    store = RowStore(tmp_path / "part", "x")
    monkeypatch.setattr("heads.score.run_batch", stops)
    with pytest.raises(KeyboardInterrupt):
        collect(*arguments, pairs, heads, store, "whole", 4)
    assert len(list(store.folder.glob("*.npz"))) == 4
    monkeypatch.setattr("heads.score.run_batch", lambda m, b, h: (passes.append(len(b)), run_batch(m, b, h))[1])
    assert collect(*arguments, pairs, heads, RowStore(tmp_path / "part", "x"), "whole", 4) == keys
    assert passes == [4, 4, 2]
    for one, other in zip(whole.read(keys), store.read(keys), strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name))
    (bare,) = store.read(keys[:1], with_rows=False)
    assert bare.rows.size == 0
    assert bare.hits("own").tolist() == next(iter(whole.read(keys[:1]))).hits("own").tolist()
    with pytest.raises(UserError, match="another calibration"):
        RowStore(tmp_path / "part", "y")


def test_greedy_takes_what_the_first_head_lacks(tmp_path: Path) -> None:
    store = RowStore(tmp_path, "x")
    n_tokens = 6
    rng = np.random.default_rng(0)
    for n in range(12):
        words = rng.permutation(n_tokens)
        rows = np.zeros((2, 3, n_tokens, n_tokens), dtype=np.float16)
        for token, word in enumerate(words):
            rows[:, 0, token, word if token < 4 else (word + 1) % n_tokens] = 10 if token < 4 else 1
            rows[:, 1, token, word if token < 3 else (word + 2) % n_tokens] = 10 if token < 3 else 1
            rows[:, 2, token, word if token >= 4 else (word + 3) % n_tokens] = 10 if token >= 4 else 1
        aligned = np.zeros((n_tokens, n_tokens), dtype=bool)
        aligned[np.arange(n_tokens), words] = True
        peaks = rows.argmax(axis=-1).astype(np.int16)
        first = np.ones(n_tokens, dtype=bool)
        store.write(
            f"p{n}", PairRows(peaks, np.ones_like(peaks, dtype=bool), rows, np.arange(n_tokens), aligned, first, 6)
        )
    keys = [f"p{n}" for n in range(12)]
    scores = score_heads(store, keys, [])
    assert scores["own"].ts.tolist() == pytest.approx([4 / 6, 3 / 6, 2 / 6])
    assert scores["own"].order == [0, 1, 2]
    rows_read = MeanRows.read(store, keys, "own", [0, 1, 2])
    assert greedy(rows_read, scores["own"].ts.tolist(), 2) == [0, 2]
    assert rows_read.score([0, 2], [4 / 6, 2 / 6]).mean() == 1.0
    assert rows_read.score([0, 1], [4 / 6, 3 / 6]).mean() == pytest.approx(4 / 6)


def test_the_winner_is_the_smallest_among_equals() -> None:
    held_out = {"top-1": 0.80, "top-4": 0.852, "greedy-3": 0.85, "greedy-8": 0.86}
    found = [Candidate(name, "own", tuple(range(int(name[-1]))), 0.9, ts) for name, ts in held_out.items()]
    assert winner(found[:3]).name == "greedy-3"
    assert winner(found[:3], "top").name == "top-4"
    assert winner(found).name == "greedy-8"


def test_intervals_hold_the_mean_and_narrow_with_more_pairs() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((400, 2))
    widths = []
    for n in (25, 100, 400):
        low, high = bootstrap(values[:n], rng)
        assert (low < values[:n].mean(axis=0)).all()
        assert (high > values[:n].mean(axis=0)).all()
        widths.append(float((high - low).mean()))
    assert all(b < 0.7 * a for a, b in pairwise(widths))


def test_other_weights_under_the_same_name_are_another_calibration(planted: Subject) -> None:
    pairs = planted_pairs(10)
    before = signature(planted, pairs)
    assert before == signature(planted, planted_pairs(10)) != signature(planted, pairs[1:])
    weight = planted.model.model.layers[0].mlp.up_proj.weight
    kept = weight[0, 0].item()
    with torch.no_grad():
        weight[0, 0] += 1
        assert signature(planted, pairs) != before
        weight[0, 0] = kept
    assert signature(planted, pairs) == before


def test_too_few_pairs_are_refused_and_sources_too_short_to_cut_scored(planted: Subject, tmp_path: Path) -> None:
    pairs = [
        AlignedPair(pair.words[:3], pair.target, pair.spans, tuple(s & {0, 1, 2} for s in pair.sources))
        for pair in planted_pairs(30)
    ]
    with pytest.raises(UserError, match="at least 10 aligned sentence pairs, not 3"):
        calibrate(planted, pairs[:3], {})
    done = calibrate(planted, [pair for pair in pairs if any(pair.sources)], {})
    assert done.head_set.provenance["mean_row"]["not_heard_auc"] is None
    save(tmp_path / "set.json", done.head_set)
    assert "NaN" not in (tmp_path / "set.json").read_text()
    assert load(tmp_path / "set.json").select() is not None
