"""From rows to a choice of heads: scores with intervals, top-k and greedy candidates, the winner on held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from agent.mt.drafter import Head, RowConvention
from agent.mt.head_sets import ScoredHead
from heads.score import CONVENTIONS, N_DISTANCES, PairRows, RowStore, count_distances, unheard_auc

Kind = Literal["any", "top", "greedy"]
"""Which candidates may win."""
Floats = npt.NDArray[np.float64]
TOP_K = (1, 2, 4, 8)
GREEDY_UP_TO = 8
POOL = 16
"""Greedy selection chooses among so many heads, those with the best TS."""
N_RESAMPLES = 1000
INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap over sentence pairs."""
CLOSE = 0.005
"""Of candidates that score within so much of the best, the one with fewest heads wins."""


@dataclass(frozen=True)
class Scores:
    """Scores of every head under one convention, ``[heads]`` each; ``per_pair`` ``[pairs, heads]`` TS."""

    ts: Floats
    low: Floats
    high: Floats
    published: Floats
    not_heard: Floats
    per_pair: Floats

    @property
    def order(self) -> list[int]:
        """Heads, best TS first."""
        return [int(index) for index in np.argsort(-self.ts, kind="stable")]

    def ranked(self, heads: Sequence[Head]) -> tuple[ScoredHead, ...]:
        """Heads with their scores, best first."""
        columns = (self.ts, self.low, self.high, self.published, self.not_heard)
        return tuple(ScoredHead(heads[i], *(float(column[i]) for column in columns)) for i in self.order)


@dataclass(frozen=True)
class Candidate:
    """Heads whose mean row is read together. ``train`` and ``held_out``: TS of that row on either half of the pairs."""

    name: str
    convention: RowConvention
    heads: tuple[int, ...]
    train: float
    held_out: float


def score_heads(
    store: RowStore, keys: Sequence[str], cut_keys: Sequence[str], seed: int = 0
) -> dict[RowConvention, Scores]:
    """Scores by convention, from whole pairs (``keys``) and pairs cut short (``cut_keys``)."""
    per_pair: dict[RowConvention, list[Floats]] = {c: [] for c in CONVENTIONS}
    published: dict[RowConvention, list[Floats]] = {c: [] for c in CONVENTIONS}
    pairs = store.read(keys, with_rows=False)
    for pair in tqdm(pairs, total=len(keys), desc="scores", unit="pair", leave=False, disable=None):
        for convention in CONVENTIONS:
            per_pair[convention].append(pair.hits(convention))
            published[convention].append(pair.hits(convention, published=True))
    late = _unheard(store, cut_keys, len(per_pair[CONVENTIONS[0]][0]))
    rng = np.random.default_rng(seed)
    result: dict[RowConvention, Scores] = {}
    for convention in CONVENTIONS:
        table = np.asarray(per_pair[convention])
        low, high = bootstrap(table, rng)
        result[convention] = Scores(
            table.mean(axis=0), low, high, np.mean(published[convention], axis=0), late[convention], table
        )
    return result


def _unheard(store: RowStore, keys: Sequence[str], n_heads: int) -> dict[RowConvention, Floats]:
    counts = {convention: np.zeros((2, n_heads, N_DISTANCES), dtype=np.int64) for convention in CONVENTIONS}
    for pair in store.read(keys, with_rows=False):
        for which, convention in enumerate(CONVENTIONS):
            counts[convention] += count_distances(pair.word_of_token[pair.peaks[which]], pair)
    return {convention: unheard_auc(*counts[convention]) for convention in CONVENTIONS}


def bootstrap(per_pair: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Interval of the mean over pairs; ``per_pair`` ``[pairs, ...]`` → low and high of the trailing shape."""
    n = len(per_pair)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) / n
    low, high = np.percentile(np.tensordot(draws, per_pair, axes=(1, 0)), INTERVAL, axis=0)
    return np.asarray(low), np.asarray(high)


@dataclass(frozen=True)
class MeanRows:
    """Rows of some heads over some pairs, for trying mean rows. ``rows[n]`` ``[heads, tokens, source tokens]``."""

    rows: tuple[npt.NDArray[np.float32], ...]
    pairs: tuple[PairRows, ...]

    @classmethod
    def read(cls, store: RowStore, keys: Sequence[str], convention: RowConvention, heads: Sequence[int]) -> MeanRows:
        """Load what is needed of the pairs: the rows of ``heads`` at the first token of every unit."""
        rows, pairs = [], []
        which = CONVENTIONS.index(convention)
        for pair in store.read(keys):
            rows.append(pair.rows[which][np.asarray(heads)].astype(np.float32))
            bare = {name: getattr(pair, name)[:, :0] for name in ("peaks", "inside", "rows")}
            pairs.append(replace(pair, aligned=pair.aligned[pair.first], first=pair.first[pair.first], **bare))
        return cls(tuple(rows), tuple(pairs))

    def score(self, chosen: Sequence[int], weights: Sequence[float]) -> Floats:
        """TS of the weighted mean row of ``chosen`` (places among the heads read), ``[pairs]``."""
        return np.asarray([share for share, _ in self._each(chosen, weights)])

    def not_heard_auc(self, chosen: Sequence[int], weights: Sequence[float]) -> float:
        """As `heads.score.unheard_auc`, for the mean row."""
        counts = np.zeros((2, N_DISTANCES), dtype=np.int64)
        for (_, words), pair in zip(self._each(chosen, weights), self.pairs, strict=True):
            counts += count_distances(words, pair)
        return float(unheard_auc(*counts))

    def _each(self, chosen: Sequence[int], weights: Sequence[float]) -> list[tuple[float, npt.NDArray[np.int64]]]:
        scale = np.asarray(weights, dtype=np.float32)
        result = []
        for rows, pair in zip(self.rows, self.pairs, strict=True):
            words = pair.word_of_token[np.tensordot(scale, rows[list(chosen)], axes=(0, 0)).argmax(axis=-1)]
            result.append((float(pair.aligned[np.arange(len(words)), words].mean()), words))
        return result


def greedy(rows: MeanRows, weights: Sequence[float], up_to: int = GREEDY_UP_TO) -> list[int]:
    """Places of heads, each the one that helps the mean row of those before it most."""
    chosen: list[int] = []
    n_wanted = min(up_to, len(weights))
    for _ in tqdm(range(n_wanted), desc="choosing", unit="head", leave=False, disable=None):
        rest = [place for place in range(len(weights)) if place not in chosen]
        tried = {place: rows.score([*chosen, place], _of(weights, [*chosen, place])).mean() for place in rest}
        chosen.append(max(rest, key=lambda place: (tried[place], -place)))
    return chosen


def _of(weights: Sequence[float], places: Sequence[int]) -> list[float]:
    return [weights[place] for place in places]


def candidates(store: RowStore, keys: Sequence[str], scores: Mapping[RowConvention, Scores]) -> list[Candidate]:
    """Top-k and greedy choices under each convention, chosen on even pairs, scored on both halves."""
    found = []
    for convention in CONVENTIONS:
        train_ts = scores[convention].per_pair[::2].mean(axis=0)
        pool = [int(index) for index in np.argsort(-train_ts, kind="stable")[:POOL]]
        weights = [float(max(train_ts[index], 1e-6)) for index in pool]
        train, test = (MeanRows.read(store, keys[start::2], convention, pool) for start in (0, 1))
        order = greedy(train, weights)
        choices = {f"top-{k}": list(range(k)) for k in TOP_K if k <= len(pool)}
        choices |= {f"greedy-{k}": order[:k] for k in range(1, len(order) + 1)}
        for name, places in choices.items():
            means = [float(half.score(places, _of(weights, places)).mean()) for half in (train, test)]
            found.append(Candidate(name, convention, tuple(pool[place] for place in places), *means))
    return found


def winner(found: Sequence[Candidate], kind: Kind = "any") -> Candidate:
    """The best of a kind on held-out pairs; of those within `CLOSE` of it the one with fewest heads."""
    eligible = [candidate for candidate in found if kind == "any" or candidate.name.startswith(kind)]
    best = max(candidate.held_out for candidate in eligible)
    close = [candidate for candidate in eligible if candidate.held_out >= best - CLOSE]
    return min(close, key=lambda candidate: (len(candidate.heads), -candidate.held_out))
