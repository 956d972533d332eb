"""The contract of acceptance policies: what they see of a draft, and what they say of it.

A policy is a frozen dataclass. Its fields are its configuration keys, beside ``policy.name``; `Policy.judge` is its
rule, a pure function of a `DraftView` and the source frontier: units are scanned left to right, the first that fails
stops the scan with a named reason. docs/extending.md shows one in twenty lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from agent.mt.drafter import RowConvention, common_prefix
from agent.mt.units import TokenUnit
from agent.words import Frontier

Rows = npt.NDArray[np.float32]
COMMON_REASONS = {
    "end-of-draft": "everything drafted was said",
    "incomplete-word": "held: the draft was cut inside its last word",
    "source-unfinished": "waits until the sentence has ended",
    "nothing-new": "nothing new was heard, nothing drafted",
    "silence": "nothing heard",
}
"""Stop reasons of every policy and of steps without a draft."""


@dataclass(frozen=True)
class DraftView:
    """What a policy may look at.

    ``rows``: float32 ``[heads, tokens, source tokens]``; ``weights``: float32 ``[heads]``, the heads' TS;
    ``word_of_token``: int64 ``[source tokens]``, visible word (context included) of each source token; ``units``: the
    draft's stability units; ``closed``: the model ended the sentence after the draft; ``n_accepted``: units of the live
    sentence committed so far; ``n_context``: visible words that belong to earlier sentences; ``token_ids``: the draft;
    ``log_probs``: float32 ``[tokens]``, natural logarithms; ``earlier``: the tails of previous drafts after the same
    accepted prefix, newest first; ``earlier_ends``: for each of them the token counts at which one of its units ends.
    """

    token_ids: tuple[int, ...]
    log_probs: npt.NDArray[np.float32]
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
    stop_reason: str
    evidence: tuple[Evidence, ...] = field(default=())


@dataclass(frozen=True)
class Policy(ABC):
    """An acceptance rule and what it needs from the drafter. A finished source always accepts the whole draft."""

    needs_rows: ClassVar[bool] = False
    row_convention: ClassVar[RowConvention | None] = None
    """Rows to capture: as the head set says (None), or a fixed convention."""
    drafts_unfinished: ClassVar[bool] = True
    """False when nothing is ever accepted before the source is finished, so that drafting would be wasted."""
    reasons: ClassVar[Mapping[str, str]] = {}
    """The stop reasons of `judge`, each with its sentence for trace, replay and ``--watch``."""

    @property
    def n_earlier(self) -> int:
        """How many previous draft tails the rule compares with."""
        return 0

    @property
    def ends_early(self) -> bool:
        """Whether the rule has an `is_settled` of its own, so that drafts may end where it says so."""
        return type(self).is_settled is not Policy.is_settled

    def why(self, reason: str) -> str:
        """The sentence of a stop reason."""
        return self.reasons.get(reason) or COMMON_REASONS.get(reason, reason)

    @abstractmethod
    def judge(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """The acceptance for a draft of an unfinished source."""

    def is_settled(self, view: DraftView, frontier: Frontier) -> bool:
        """Whether nothing the model could write after the tokens of ``view`` changes the acceptance of the draft.

        ``view`` shows a draft that goes on (``closed`` is False, the last unit may grow) and that the rule compares
        with the same earlier drafts; its ``log_probs`` are empty. False where this cannot be known: only a complete
        draft tells.
        """
        return False

    def word_limit(self, frontier: Frontier) -> int | None:
        """For rules on peaks alone: a unit is refused when the mean row of its first token peaks on this word or
        later."""
        return None

    def accept(self, view: DraftView, frontier: Frontier) -> Acceptance:
        """The acceptance for this draft; a finished source accepts everything."""
        if frontier.finished:
            return Acceptance(len(view.token_ids), len(view.units), "end-of-draft")
        return self.judge(view, frontier)


def mean_rows(view: DraftView) -> Rows:
    """float32 ``[tokens, source tokens]``: mean of the heads' rows weighted by their translation scores."""
    weights = view.weights / view.weights.sum()
    return np.tensordot(weights, view.rows, axes=(0, 0)).astype(np.float32)


def n_shared_units(view: DraftView, n_earlier: int) -> int:
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


def whole_units(view: DraftView, passed: int, reason: str, evidence: tuple[Evidence, ...] = ()) -> Acceptance:
    """Accept the first ``passed`` units, rounded back so that only finished units on token boundaries are kept.

    ``reason``: what stopped the scan; where nothing did, that the whole draft was accepted is said.
    """
    units: Sequence[TokenUnit] = view.units
    if passed == len(units):
        reason = "end-of-draft"
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


def refuses(acceptance: Acceptance, view: DraftView) -> bool:
    """Whether the rule refuses a unit of a draft that goes on, and the last token shows where that unit begins."""
    reached = bool(view.units) and view.units[-1].end == len(view.token_ids)
    stopped = acceptance.stop_reason not in ("end-of-draft", "incomplete-word")
    return stopped and reached and acceptance.n_units < len(view.units)
