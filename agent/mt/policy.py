"""Which drafted words are committed: policies over a draft's units, its attention rows and the source frontier.

Every policy is a pure function `Policy.accept(view, frontier)`: units are scanned left to right, the first that fails
stops the scan, with a named reason. When the source is finished every policy accepts the whole draft.

``alignatt`` is ours. ``paper`` is the published AlignAtt acceptance (IWSLT 2026, 2026.iwslt-1.32, rules 5-7) with
frontier counts in tokens. ``local-agreement`` (Liu et al. 2020), ``wait-k`` (Ma et al. 2019), ``cut-last`` and
``offline`` are the yardsticks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from agent.config import PolicyConfig
from agent.mt.drafter import RowConvention, common_prefix
from agent.mt.units import TokenUnit
from agent.words import Frontier

StopReason = Literal[
    "end-of-draft",
    "frontier",
    "closure",
    "incomplete-word",
    "weak-peak",
    "little-accessible-mass",
    "no-agreement",
    "wait",
    "cut",
    "source-unfinished",
]

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DraftView:
    """What a policy may look at.

    ``rows``: float32 ``[heads, tokens, source tokens]``; ``weights``: float32 ``[heads]``, the heads' TS;
    ``word_of_token``: int64 ``[source tokens]``, visible word (context included) of each source token; ``units``: the
    draft's stability units; ``closed``: the model ended the sentence after the draft; ``n_accepted``: units of the live
    sentence committed so far; ``n_context``: visible words that belong to earlier sentences; ``token_ids``: the draft;
    ``earlier``: the tails of previous drafts after the same accepted prefix, newest first; ``earlier_ends``: for each
    of them the token counts at which one of its units ends.
    """

    token_ids: tuple[int, ...]
    rows: Rows
    weights: npt.NDArray[np.float32]
    word_of_token: npt.NDArray[np.int64]
    units: tuple[TokenUnit, ...]
    closed: bool
    n_accepted: int = 0
    n_context: int = 0
    earlier: tuple[tuple[int, ...], ...] = ()
    earlier_ends: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Why a unit passed or failed: the source word its attention peaks on (-1 without rows) and the weight there.

    ``words``: the weight on each visible word, context included: the row that was judged, summed over their tokens.
    """

    text: str
    source_word: int
    peak: float
    words: tuple[float, ...] = ()

    @classmethod
    def of(cls, text: str, row: Rows, peak: int, word_of_token: npt.NDArray[np.int64]) -> Evidence:
        """``row``: float32 ``[source tokens]``; ``peak``: the source token that counts as its peak."""
        if not row.size:
            return cls(text, -1, 0.0)
        words = np.bincount(word_of_token, weights=row)
        return cls(text, int(word_of_token[peak]), float(row[peak]), tuple(words.tolist()))


@dataclass(frozen=True)
class Acceptance:
    """Accepted prefix of a draft: ``n_tokens`` tokens, ``n_units`` units, and what stopped the scan."""

    n_tokens: int
    n_units: int
    stop_reason: StopReason
    evidence: tuple[Evidence, ...] = field(default=())


@dataclass(frozen=True)
class Policy:
    """A named acceptance rule and what it needs from the drafter."""

    name: str
    row_convention: RowConvention | None
    """Rows to capture: as the head set says (None with ``needs_rows``), or a fixed convention."""
    needs_rows: bool
    rule: Callable[[DraftView, Frontier], Acceptance]
    n_earlier: int = 0
    """How many previous draft tails the rule compares with."""
    drafts_unfinished: bool = True
    """False when nothing is ever accepted before the source is finished, so that drafting would be wasted."""
    is_settled: Callable[[DraftView, Frontier], bool] | None = None
    """None when only a complete draft tells what is accepted of it (see `settled`)."""
    word_limit: Callable[[Frontier], int] | None = None
    """For rules on peaks alone: a unit is refused when the mean row of its first token peaks on this word or later."""

    def settled(self, view: DraftView, frontier: Frontier) -> bool:
        """Whether nothing the model could write after the tokens of ``view`` changes the acceptance of the draft.

        ``view`` shows a draft that goes on (``closed`` is False, the last unit may grow) and that the rule compares
        with the same earlier drafts. Exact: where this cannot be known it is False.
        """
        return not frontier.finished and self.is_settled is not None and self.is_settled(view, frontier)

    def accept(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """The acceptance for this draft; a finished source accepts everything."""
        if frontier.finished:
            return Acceptance(len(view.token_ids), len(view.units), "end-of-draft")
        return self.rule(view, frontier)


def build_policy(config: PolicyConfig) -> Policy:
    """The policy a configuration names."""
    rules: dict[str, Policy] = {
        "alignatt": Policy(
            "alignatt",
            None,
            True,
            lambda v, f: _alignatt(v, f, config),
            n_earlier=config.confirmations,
            is_settled=lambda v, f: _scan(v, mean_rows(v), f.n_accessible - config.margin_words)[1] == "frontier",
            word_limit=lambda f: f.n_accessible - config.margin_words,
        ),
        "paper": Policy(
            "paper",
            "own",
            True,
            lambda v, f: _paper(v, f, config),
            is_settled=lambda v, f: _refuses(_judge_tokens(v, f, config)[0], v),
        ),
        "local-agreement": Policy(
            "local-agreement",
            None,
            False,
            lambda v, f: _local_agreement(v, config.agree - 1),
            n_earlier=config.agree - 1,
        ),
        "wait-k": Policy(
            "wait-k",
            None,
            False,
            lambda v, f: _wait_k(v, f, config),
            is_settled=lambda v, f: _refuses(_wait_k(v, f, config), v),
        ),
        "cut-last": Policy("cut-last", None, False, lambda v, f: _cut_last(v, config.cut_words)),
        "offline": Policy(
            "offline", None, False, lambda v, f: Acceptance(0, 0, "source-unfinished"), drafts_unfinished=False
        ),
    }
    return rules[config.name]


def mean_rows(view: DraftView) -> Rows:
    """float32 ``[tokens, source tokens]``: mean of the heads' rows weighted by their translation scores."""
    weights = view.weights / view.weights.sum()
    return np.tensordot(weights, view.rows, axes=(0, 0)).astype(np.float32)


def _alignatt(view: DraftView, frontier: Frontier, config: PolicyConfig) -> Acceptance:
    """Hold a unit while the attention of its first token peaks on one of the last ``margin_words`` accessible words.

    Later tokens of a unit inherit the decision. Closure guard: when the model closed the sentence although the source
    goes on, the last word is held too, since a sentence's end is what a model invents first. Where units are less than
    words (Chinese characters), the last word is every unit at the end that peaks on the same source word.
    """
    rows = mean_rows(view)
    passed, reason, peaks = _scan(view, rows, frontier.n_accessible - config.margin_words)
    evidence = tuple(
        Evidence.of(unit.text, rows[unit.first], peak, view.word_of_token)
        for unit, peak in zip(view.units, peaks, strict=False)
    )
    if reason == "end-of-draft" and view.closed and config.closure_guard and passed:
        last_word = evidence[-1].source_word
        while passed and evidence[passed - 1].source_word == last_word:
            passed -= 1
        reason = "closure"
    confirmed = _n_shared_units(view, config.confirmations)
    if confirmed < passed:
        passed, reason = confirmed, "no-agreement"
    return _whole_units(view, passed, reason, evidence)


def _scan(view: DraftView, rows: Rows, limit: int) -> tuple[int, StopReason, list[int]]:
    """Units before the first whose first token's row in ``rows`` peaks on source word ``limit`` or later.

    The third: source tokens on which the units peak, that one included.
    """
    peaks: list[int] = []
    for index, unit in enumerate(view.units):
        row = rows[unit.first]
        peaks.append(int(row.argmax()) if row.size else -1)
        if not row.size or view.word_of_token[peaks[-1]] >= limit or not np.isfinite(row).all():
            return index, "frontier", peaks
    return len(view.units), "end-of-draft", peaks


def _paper(view: DraftView, frontier: Frontier, config: PolicyConfig) -> Acceptance:
    """Published rules 5-7, and of each unit the row of its last token that was judged."""
    acceptance, filtered, mean, n_tokens = _judge_tokens(view, frontier, config)
    if not mean.shape[1]:
        return acceptance
    units = view.units[: sum(unit.end <= n_tokens for unit in view.units) + 1]
    judged = [(unit.text, min(unit.end - 1, n_tokens)) for unit in units]
    return replace(
        acceptance,
        evidence=tuple(
            Evidence.of(text, mean[token], int(filtered[token].argmax()), view.word_of_token) for text, token in judged
        ),
    )


def _judge_tokens(view: DraftView, frontier: Frontier, config: PolicyConfig) -> tuple[Acceptance, Rows, Rows, int]:
    """Published rules 5-7 on every token: filtered peak before the frontier, strong enough, enough accessible mass.

    Acceptance; filtered and raw mean rows, ``[tokens, source tokens]``; tokens before the first that fails.
    """
    rows = view.rows
    filtered = median_filter(welford_z(rows) if config.z_score else rows, config.median_width).mean(axis=0)
    mean = rows.mean(axis=0)
    n_accessible = int((view.word_of_token < frontier.n_accessible).sum())
    reason: StopReason = "end-of-draft"
    n_tokens = len(view.token_ids)
    for token in range(n_tokens):
        peak = int(filtered[token].argmax()) if filtered.shape[1] else n_accessible + config.margin_tokens
        if peak >= n_accessible + config.margin_tokens:
            reason = "frontier"
        elif mean[token, peak] < config.min_peak:
            reason = "weak-peak"
        elif mean[token, :n_accessible].sum() < config.min_accessible_mass:
            reason = "little-accessible-mass"
        if reason != "end-of-draft":
            n_tokens = token
            break
    passed = sum(unit.end <= n_tokens for unit in view.units)
    return _whole_units(view, passed, reason), filtered, mean, n_tokens


def welford_z(rows: Rows) -> Rows:
    """Each head's rows standardised, column by column, by the rows of earlier draft tokens; the first two stay raw.

    ``rows`` and result: float32 ``[heads, tokens, source tokens]``. Source: the paper's prefix-Welford normalisation.
    """
    result = rows.copy()
    for token in range(2, rows.shape[1]):
        earlier = rows[:, :token]
        result[:, token] = (rows[:, token] - earlier.mean(axis=1)) / (earlier.std(axis=1) + 1e-6)
    return result


def median_filter(rows: Rows, width: int) -> Rows:
    """Running median of odd ``width`` over the last axis, edges repeated; width 1 returns ``rows``."""
    if width == 1 or rows.shape[-1] == 0:
        return rows
    half = width // 2
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(half, half)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1)
    median: Rows = np.median(windows, axis=-1).astype(np.float32)
    return median


def _local_agreement(view: DraftView, n_earlier: int) -> Acceptance:
    """Units that this draft shares with each of the ``n_earlier`` drafts before it, ends included."""
    passed = _n_shared_units(view, n_earlier)
    return _whole_units(view, passed, "end-of-draft" if passed == len(view.units) else "no-agreement")


def _n_shared_units(view: DraftView, n_earlier: int) -> int:
    """How many leading units the draft shares with each of the ``n_earlier`` drafts before it, ends included."""
    if n_earlier == 0:
        return len(view.units)
    if len(view.earlier) < n_earlier:
        return 0
    shared = min(common_prefix(view.token_ids, tail) for tail in view.earlier[:n_earlier])
    passed = 0
    for unit in view.units:
        # Equal tokens are not yet an equal word: the other draft may go on with a suffix.
        if unit.end > shared or not all(unit.end in ends for ends in view.earlier_ends[:n_earlier]):
            break
        passed += 1
    return passed


def _wait_k(view: DraftView, frontier: Frontier, config: PolicyConfig) -> Acceptance:
    """Stay ``k`` source words behind, at ``units_per_word`` target units for each source word."""
    heard = frontier.n_accessible - view.n_context
    allowed = int((heard - config.k) * config.units_per_word) - view.n_accepted
    passed = max(0, min(allowed, len(view.units)))
    return _whole_units(view, passed, "end-of-draft" if passed == len(view.units) else "wait")


def _cut_last(view: DraftView, cut_words: int) -> Acceptance:
    """Everything but the last ``cut_words`` units of the draft."""
    passed = max(0, len(view.units) - cut_words)
    return _whole_units(view, passed, "cut" if passed < len(view.units) else "end-of-draft")


def _whole_units(view: DraftView, passed: int, reason: StopReason, evidence: tuple[Evidence, ...] = ()) -> Acceptance:
    """Accept the first ``passed`` units, rounded back so that only finished units on token boundaries are kept."""
    units: Sequence[TokenUnit] = view.units
    if passed and not units[passed - 1].complete:
        passed -= 1
        reason = "incomplete-word" if reason == "end-of-draft" else reason
    # Two units in one token are committed together or not at all.
    while passed and passed < len(units) and units[passed].first < units[passed - 1].end:
        passed -= 1
    n_tokens = units[passed - 1].end if passed else 0
    if passed and passed == len(units):
        n_tokens = len(view.token_ids)
    return Acceptance(n_tokens, passed, reason, evidence)


def _refuses(acceptance: Acceptance, view: DraftView) -> bool:
    """Whether the rule refuses a unit of a draft that goes on, and the last token shows where that unit begins."""
    reached = bool(view.units) and view.units[-1].end == len(view.token_ids)
    stopped = acceptance.stop_reason not in ("end-of-draft", "incomplete-word")
    return stopped and reached and acceptance.n_units < len(view.units)
