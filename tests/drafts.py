"""Made-up drafts, and what policies accept of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.mt.policy import Acceptance, DraftView, Policy
from agent.mt.units import token_units
from agent.plugins import POLICIES, load_class
from agent.words import Frontier


def one_hot(peaks: Sequence[int], n_source: int, weight: float = 0.9) -> Any:
    rows = np.full((len(peaks), n_source), 0.001, dtype=np.float32)
    rows[np.arange(len(peaks)), peaks] = weight
    return rows


def view(
    pieces: list[str], peaks: Sequence[int] = (), words: Sequence[int] = range(6), language: str = "de", **more: Any
) -> DraftView:
    """A draft of ``pieces``; token ``t`` attends to source token ``peaks[t]``; ``words``: word of each source token."""
    text, ends = "", []
    for piece in pieces:
        text += piece
        ends.append(len(text))
    closed = more.pop("closed", False)
    rows = more.pop("rows", None)
    if rows is None:
        rows = one_hot(peaks or [0] * len(pieces), len(words))[None]
    return DraftView(
        tuple(range(100, 100 + len(pieces))),
        more.pop("log_probs", np.zeros(len(pieces), dtype=np.float32)),
        rows,
        more.pop("weights", np.ones(len(rows), dtype=np.float32)),
        np.asarray(words, dtype=np.int64),
        tuple(token_units(ends, text, language, closed)),
        closed,
        **more,
    )


def policy_of(name: str, **keys: Any) -> Policy:
    """The policy of that name, with those of the keys that it has."""
    cls = load_class(name, POLICIES, Policy, "policy.name")
    policy: Policy = cls(**{key: value for key, value in keys.items() if key in cls.__dataclass_fields__})
    return policy


def accept(name: str, draft: DraftView, frontier: Frontier, **keys: Any) -> Acceptance:
    return policy_of(name, **keys).accept(draft, frontier)


def outcome(acceptance: Acceptance) -> tuple[int, int, str]:
    return acceptance.n_tokens, acceptance.n_units, acceptance.stop_reason
