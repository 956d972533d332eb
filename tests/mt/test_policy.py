"""Policies: what each accepts and why it stops, on made-up drafts and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drafts import accept, one_hot, outcome, policy_of, view

from agent.mt.policy import DraftView, mean_rows
from agent.mt.policy.paper import median_filter, welford_z
from agent.words import Frontier

NAMES = ("alignatt", "paper", "local-agreement", "wait-k", "cut-last", "offline")


DRAFT = [" Der", " al", "te", " Leh", "rer", " geht"]


@pytest.mark.parametrize(
    ("margin", "accessible", "expected"),
    [
        (0, 6, (5, 3, "incomplete-word")),
        (2, 6, (3, 2, "frontier")),
        (1, 6, (5, 3, "frontier")),
        (3, 6, (1, 1, "frontier")),
        (4, 6, (1, 1, "frontier")),
        (6, 6, (0, 0, "frontier")),
        (0, 5, (5, 3, "frontier")),
        (1, 4, (1, 1, "frontier")),
        (2, 4, (1, 1, "frontier")),
        (0, 0, (0, 0, "frontier")),
    ],
)
def test_alignatt_holds_words_that_look_at_the_last_words(margin: int, accessible: int, expected: Any) -> None:
    draft = view(DRAFT, peaks=[0, 3, 5, 4, 0, 5])
    found = accept("alignatt", draft, Frontier(accessible, 6), margin_words=margin, closure_guard=False)
    assert outcome(found) == expected


def test_alignatt_held_back_words_and_margin_add_up() -> None:
    draft = view(DRAFT, peaks=[0, 2, 2, 4, 4, 5])
    for hold, margin in [(0, 3), (1, 2), (2, 1), (3, 0)]:
        assert outcome(accept("alignatt", draft, Frontier(6 - hold, 6), margin_words=margin)) == (3, 2, "frontier")


def test_alignatt_confirmations_hold_what_earlier_drafts_did_not_have() -> None:
    pieces, ends = [" Der", " Lehrer", " geht", " heim"], (frozenset({1, 2, 3, 4}),)
    draft = view(pieces, peaks=[0, 0, 0, 0], earlier=((100, 101, 999),), earlier_ends=ends)
    found = accept("alignatt", draft, Frontier(6, 6), margin_words=1, confirmations=1)
    assert outcome(found) == (2, 2, "no-agreement")
    first = view(pieces, peaks=[0, 0, 0, 0])
    assert outcome(accept("alignatt", first, Frontier(6, 6), confirmations=1)) == (0, 0, "no-agreement")
    # What attention holds stays held, whatever the drafts agree on.
    late = view(pieces, peaks=[0, 5, 0, 0], earlier=((100, 101, 102, 103),), earlier_ends=ends)
    assert outcome(accept("alignatt", late, Frontier(6, 6), margin_words=1, confirmations=1)) == (1, 1, "frontier")


def test_alignatt_records_why() -> None:
    evidence = accept("alignatt", view(DRAFT, peaks=[1, 5, 0, 0, 0, 0]), Frontier(6, 6)).evidence
    assert [(e.text, e.source_word, round(e.peak, 2)) for e in evidence] == [("Der", 1, 0.9), ("alte", 5, 0.9)]
    assert [(len(e.words), round(e.words[e.source_word], 2)) for e in evidence] == [(6, 0.9), (6, 0.9)]


def test_the_published_rule_shows_the_row_of_the_token_that_failed() -> None:
    accepted = accept("paper", view(DRAFT, peaks=[1, 5, 0, 0, 0, 0]), Frontier(3, 6), z_score=False, median_width=1)
    assert [(e.text, e.source_word) for e in accepted.evidence] == [("Der", 1), ("alte", 5)]
    assert accepted.n_units == 1


CLOSED = view([" Er", " geht", "."], [0, 1, 1], closed=True)
HAN = view([*"老师毁掉了"], [0, 0, 2, 2, 2], language="zh", closed=True)
THREE = view([" a", " b", " c"], [2, 4, 5], [0, 0, 0, 1, 1, 2])
FOUR = view([" a", " b", " c", " d"], [1, 3, 4, 0])
ROWS = np.array([[[0.5, 0.1, 0.0, 0.0], [0.2, 0.1, 0.1, 0.1]]], dtype=np.float32)
FLAT = view([" a", " b"], rows=ROWS, words=range(4), closed=True)
NO_SOURCE = view([" a", " b"], rows=np.zeros((2, 2, 0), dtype=np.float32), words=[])
BROKEN = view([" a", " b"], rows=np.full((1, 2, 6), np.nan, dtype=np.float32))
COMMA = [0, 1, 1, 2, 2]
"""Words of the source tokens of *It rains, and*; *and* is not accessible, so that three tokens are."""
PLAIN: dict[str, Any] = {"z_score": False, "median_width": 1}


@pytest.mark.parametrize(
    ("name", "draft", "frontier", "keys", "expected"),
    [
        # Only the first token of a word is looked at.
        ("alignatt", view([" al", "te", " Frau", " da"], [0, 5, 1, 0]), (6, 6), {}, (3, 2, "incomplete-word")),
        # The last word of a sentence that the source has not closed is kept back, with all characters of its word.
        ("alignatt", CLOSED, (6, 6), {}, (1, 1, "closure")),
        ("alignatt", CLOSED, (6, 6), {"closure_guard": False}, (3, 2, "end-of-draft")),
        ("alignatt", view([" Ja", "."], closed=True), (6, 6), {}, (0, 0, "closure")),
        ("alignatt", HAN, (6, 6), {"margin_words": 0}, (2, 2, "closure")),
        ("alignatt", view([" Ha", "us"]), (6, 6), {}, (0, 0, "incomplete-word")),
        # Words are counted, not tokens.
        ("alignatt", THREE, (3, 3), {"margin_words": 1}, (2, 2, "frontier")),
        ("alignatt", THREE, (3, 3), {"margin_words": 2}, (1, 1, "frontier")),
        ("alignatt", NO_SOURCE, (0, 0), {}, (0, 0, "frontier")),
        ("alignatt", BROKEN, (6, 6), {}, (0, 0, "frontier")),
        # Tokens are counted, punctuation included.
        ("paper", view([" a "], [0], COMMA), (2, 3), {"margin_tokens": 0}, (1, 1, "end-of-draft")),
        ("paper", view([" a "], [2], COMMA), (2, 3), {"margin_tokens": 0}, (1, 1, "end-of-draft")),
        ("paper", view([" a "], [3], COMMA), (2, 3), {"margin_tokens": 0}, (0, 0, "frontier")),
        ("paper", view([" a "], [4], COMMA), (2, 3), {"margin_tokens": 0}, (0, 0, "frontier")),
        # The margin reaches that many tokens beyond the frontier.
        ("paper", FOUR, (3, 6), {"margin_tokens": 0}, (1, 1, "frontier")),
        ("paper", FOUR, (3, 6), {"margin_tokens": 1}, (2, 2, "frontier")),
        ("paper", FOUR, (3, 6), {"margin_tokens": 2}, (3, 3, "incomplete-word")),
        # Every token counts, and words stay whole.
        ("paper", view(DRAFT, [0, 0, 5, 0, 0, 0]), (3, 6), {}, (1, 1, "frontier")),
        ("paper", FLAT, (2, 4), {}, (2, 2, "end-of-draft")),
        ("paper", FLAT, (2, 4), {"min_peak": 0.3}, (1, 1, "weak-peak")),
        ("paper", FLAT, (2, 4), {"min_accessible_mass": 0.4}, (1, 1, "little-accessible-mass")),
        ("paper", NO_SOURCE, (0, 0), {}, (0, 0, "frontier")),
        ("wait-k", view(["我", "们"], language="zh"), (9, 9), {}, (2, 2, "end-of-draft")),
        ("offline", view(DRAFT), (6, 6), {}, (0, 0, "source-unfinished")),
    ],
)
def test_a_policy_accepts_so_much_for_that_reason(
    name: str, draft: DraftView, frontier: tuple[int, int], keys: dict[str, Any], expected: tuple[int, int, str]
) -> None:
    assert outcome(accept(name, draft, Frontier(*frontier), **PLAIN, **keys)) == expected


def test_only_offline_drafts_no_unfinished_source() -> None:
    assert [name for name in NAMES if not policy_of(name).drafts_unfinished] == ["offline"]


def test_two_units_in_one_token_are_committed_together_or_not_at_all() -> None:
    pieces = ["老师", "修理", "机"]
    draft = view(pieces, language="zh")
    for cut, expected in [(1, (2, 4, "cut")), (2, (1, 2, "cut")), (3, (1, 2, "cut")), (4, (0, 0, "cut"))]:
        assert outcome(accept("cut-last", draft, Frontier(6, 6), cut_words=cut)) == expected


def test_weights_decide_between_heads() -> None:
    rows = np.stack([one_hot([0], 6), one_hot([5], 6)])
    draft = view([" a "], rows=rows, weights=np.array([0.9, 0.1], dtype=np.float32))
    assert mean_rows(draft).shape == (1, 6)
    assert accept("alignatt", draft, Frontier(6, 6)).n_tokens == 1
    flipped = view([" a "], rows=rows, weights=np.array([0.1, 0.9], dtype=np.float32))
    assert accept("alignatt", flipped, Frontier(6, 6)).n_tokens == 0


def test_paper_width_seven_median_erases_a_lone_sharp_peak() -> None:
    row = one_hot([8], 12)
    row[0, 0] = 0.002
    assert int(row.argmax()) == 8
    assert int(median_filter(row, 7).argmax()) == 0
    assert int(median_filter(row, 1).argmax()) == 8
    draft = view([" a "], rows=row[None], words=range(12))
    assert accept("paper", draft, Frontier(4, 12), **PLAIN).n_tokens == 0
    assert accept("paper", draft, Frontier(4, 12), z_score=False).n_tokens == 1


def test_median_keeps_a_broad_peak_and_the_edges() -> None:
    row = np.array([[0, 0, 0, 1, 2, 3, 2, 1, 0, 0]], dtype=np.float32)
    assert median_filter(row, 3).shape == row.shape
    assert int(median_filter(row, 3).argmax()) in (4, 5, 6)
    np.testing.assert_array_equal(median_filter(np.ones((2, 3, 2), dtype=np.float32), 7), np.ones((2, 3, 2)))


def test_z_score_standardises_by_earlier_tokens_only() -> None:
    rows = np.random.default_rng(0).random((2, 5, 4), dtype=np.float32)
    scored = welford_z(rows)
    np.testing.assert_array_equal(scored[:, :2], rows[:, :2])
    expected = (rows[1, 3] - rows[1, :3].mean(axis=0)) / (rows[1, :3].std(axis=0) + 1e-6)
    np.testing.assert_allclose(scored[1, 3], expected, rtol=1e-5)
    changed = rows.copy()
    changed[:, 4] = 0
    np.testing.assert_array_equal(welford_z(changed)[:, :4], scored[:, :4])


def agreement(pieces: list[str], earlier: tuple[tuple[int, ...], ...], ends: Any, agree: int = 2, **more: Any) -> Any:
    draft = view(pieces, earlier=earlier, earlier_ends=tuple(map(frozenset, ends)), **more)
    return outcome(accept("local-agreement", draft, Frontier(6, 6), agree=agree))


def test_local_agreement_commits_the_words_that_drafts_share() -> None:
    pieces = [" a", " b", "c", " d"]
    assert agreement(pieces, (), ()) == (0, 0, "no-agreement")
    assert agreement(pieces, ((100, 101, 102, 7),), ([1, 3, 4],)) == (3, 2, "no-agreement")
    assert agreement(pieces, ((100, 101, 7),), ([1, 3],)) == (1, 1, "no-agreement")
    assert agreement(pieces, ((100, 101, 102, 103),), ([1, 3, 4],), closed=True) == (4, 3, "end-of-draft")
    assert agreement(pieces, ((100, 101, 102, 103),), ([1, 3, 4],)) == (3, 2, "incomplete-word")


def test_local_agreement_does_not_take_a_word_that_the_other_draft_continues() -> None:
    assert agreement([" Haus", " ist"], ((100, 7, 8),), ([2, 3],)) == (0, 0, "no-agreement")
    assert agreement([" Haus"], ((100, 7),), ([2],), closed=True) == (0, 0, "no-agreement")


def test_local_agreement_of_three_wants_three_drafts() -> None:
    pieces = [" a", " b", " c "]
    assert agreement(pieces, ((100, 101, 102),), ([1, 2, 3],), agree=3) == (0, 0, "no-agreement")
    assert agreement(pieces, ((100, 101, 102), (100, 7)), ([1, 2, 3], [1, 2]), agree=3) == (1, 1, "no-agreement")


@pytest.mark.parametrize(
    ("visible", "accepted", "context", "ratio", "expected"),
    [(6, 0, 0, 1.0, 3), (6, 2, 0, 1.0, 1), (6, 4, 0, 1.0, 0), (6, 0, 2, 1.0, 1), (2, 0, 0, 1.0, 0), (5, 0, 0, 1.6, 3)],
)
def test_wait_k_stays_behind_the_source(visible: int, accepted: int, context: int, ratio: float, expected: int) -> None:
    draft = view(["我", "们", "用", "它", "吧"], language="zh", n_accepted=accepted, n_context=context)
    found = accept("wait-k", draft, Frontier(visible, visible), k=3, units_per_word=ratio)
    assert (found.n_tokens, found.stop_reason) == (expected, "wait")


def test_cut_last_drops_that_many_words() -> None:
    draft = view(DRAFT)
    assert [accept("cut-last", draft, Frontier(6, 6), cut_words=n).n_tokens for n in range(6)] == [5, 5, 3, 1, 0, 0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("closed", [True, False])
def test_a_finished_source_accepts_everything_and_keeps_the_last_word(name: str, closed: bool) -> None:
    draft = view(DRAFT, peaks=[5] * 6, closed=closed)
    assert outcome(accept(name, draft, Frontier(6, 6, finished=True))) == (6, 4, "end-of-draft")


@pytest.mark.parametrize("name", NAMES)
def test_a_draft_of_nothing_or_of_white_space_accepts_nothing(name: str) -> None:
    for pieces in ([], [" ", "\n"]):
        draft = view(pieces, earlier=((100, 101),), earlier_ends=(frozenset(),))
        assert outcome(accept(name, draft, Frontier(6, 6)))[:2] == (0, 0)


@pytest.mark.parametrize("language", ["de", "zh"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_accepted_is_always_whole_units_on_token_boundaries(name: str, language: str) -> None:
    random = np.random.default_rng(7)
    alphabet = [" Ha", "us", "tür", " ", ".", " ja, ne", "你", "好吗", "。", "GP", "T-", "4", "，“"]
    for _ in range(150):
        pieces = [str(piece) for piece in random.choice(alphabet, size=random.integers(0, 10))]
        n_source = int(random.integers(1, 9))
        words = np.sort(random.integers(0, n_source, n_source))
        earlier = tuple(range(100, 100 + int(random.integers(0, len(pieces) + 1))))
        draft = view(
            pieces,
            rows=random.random((3, len(pieces), n_source), dtype=np.float32),
            words=words,
            language=language,
            closed=bool(random.integers(2)),
            n_accepted=int(random.integers(3)),
            earlier=(earlier,),
            earlier_ends=(frozenset(random.integers(0, 10, 6).tolist()),),
        )
        accessible = int(random.integers(0, n_source + 1))
        margin = int(random.integers(4))
        found = accept(name, draft, Frontier(accessible, n_source), margin_words=margin, margin_tokens=margin, k=margin)
        kept, rest = draft.units[: found.n_units], draft.units[found.n_units :]
        assert 0 <= found.n_tokens <= len(pieces)
        assert all(unit.end <= found.n_tokens and unit.complete for unit in kept)
        assert all(unit.end > found.n_tokens and unit.first >= found.n_tokens for unit in rest)


def test_alignatt_holds_what_has_little_weight_too() -> None:
    row = np.zeros((1, 1, 6), dtype=np.float32)
    row[0, 0, 3] = 0.02
    draft = view([" a "], rows=row)
    assert accept("alignatt", draft, Frontier(6, 6), margin_words=3).stop_reason == "frontier"


def test_alignatt_sees_a_lone_sharp_peak() -> None:
    draft = view([" a "], rows=one_hot([8], 12)[None], words=range(12))
    assert accept("alignatt", draft, Frontier(10, 12), margin_words=2).stop_reason == "frontier"
    assert accept("alignatt", draft, Frontier(12, 12), margin_words=2).n_tokens == 1
