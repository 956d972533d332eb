"""Paired bootstrap between runs on the same segments: 95 % intervals and p-values of BLEU, chrF, COMET and LongYAAL.

Resampled are talks (sentences of one talk are not independent) or segments (where there are too few talks). Every run
sees the same resamples, and a corpus score of a resample is computed from summed counts, not averaged over sentences.
Resegmentation is done once and not repeated per resample. Method: Koehn 2004 (resampling), with the two-sided p-value
of the centred bootstrap (Riezler and Maxwell 2005).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from agent.errors import UserError
from eval.scoring.segments import Segment

Unit = Literal["talks", "segments"]
Counts = npt.NDArray[np.float64]

N_RESAMPLES = 2000
SEED = 12345
FEW_TALKS = 10
"""Below this many talks their bootstrap has too few distinct resamples to be relied on; segments are the default."""
METRICS = ("bleu", "chrf", "comet", "cu_ms", "ca_ms")


@dataclass(frozen=True)
class RunStatistics:
    """One run's additive statistics, a row for each of its n segments.

    ``talks``: name of each segment's talk; ``counts``: per metric float64 ``[n, k]`` whose sums over any set of rows
    give the metric of that set. ``comet``, ``cu_ms`` and ``ca_ms`` are [sum, number of segments that have one].
    """

    talks: tuple[str, ...]
    counts: Mapping[str, Counts]

    @classmethod
    def of(cls, segments: Sequence[Segment], comet: bool = True) -> RunStatistics:
        """From scored segments. ``comet``: whether their COMET scores are from the model of the other runs."""
        return cls(
            tuple(segment.talk for segment in segments),
            {
                "bleu": np.array([segment.bleu for segment in segments], dtype=np.float64),
                "chrf": np.array([segment.chrf for segment in segments], dtype=np.float64),
                "comet": _summed([segment.comet if comet else None for segment in segments]),
                "cu_ms": _summed([segment.cu_ms for segment in segments]),
                "ca_ms": _summed([segment.ca_ms for segment in segments]),
            },
        )

    def value(self, metric: str) -> float:
        """The metric over all segments; NaN for one that no segment has."""
        return _FROM_SUMS[metric](self.counts[metric].sum(axis=0))


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % percentile interval; ``p_value`` (two-sided, against 0) for differences only."""

    value: float
    low: float
    high: float
    p_value: float | None = None

    def scaled(self, factor: float) -> Interval:
        """In another unit."""
        return Interval(self.value * factor, self.low * factor, self.high * factor, self.p_value)


@dataclass(frozen=True)
class Comparison:
    """``scores`` and ``differences`` (run minus baseline) are by run, then metric; what nobody has is left out."""

    unit: Unit
    n_units: int
    n_resamples: int
    seed: int
    baseline: str
    scores: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Interval]]


def default_unit(talks: Sequence[str]) -> Unit:
    """``talks`` where there are enough of them, else ``segments``. ``talks``: of each segment or distinct."""
    return "talks" if len(set(talks)) >= FEW_TALKS else "segments"


def compare_runs(
    runs: Mapping[str, RunStatistics],
    baseline: str,
    unit: Unit | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Intervals of every run, and of its difference to ``baseline``. One run alone gets its intervals.

    p-values are not corrected for the number of runs. UserError when the runs are not of the same segments.
    """
    talks = runs[baseline].talks
    for name, run in runs.items():
        if run.talks != talks:
            raise UserError(f"{name} and {baseline} were not scored on the same segments: they cannot be compared.")
    unit = unit or default_unit(talks)
    weights = resample(talks, unit, n_resamples, seed)
    drawn = {
        name: {metric: _values(counts, metric, weights) for metric, counts in run.counts.items()}
        for name, run in runs.items()
    }
    scores: dict[str, dict[str, Interval]] = {name: {} for name in runs}
    differences: dict[str, dict[str, Interval]] = {name: {} for name in runs if name != baseline}
    for metric in METRICS:
        own = {name: run.value(metric) for name, run in runs.items()}
        for name, value in own.items():
            if np.isnan(value):
                continue
            scores[name][metric] = _interval(value, drawn[name][metric])
            if name != baseline and not np.isnan(own[baseline]):
                difference = drawn[name][metric] - drawn[baseline][metric]
                differences[name][metric] = _interval(value - own[baseline], difference, test=True)
    n_units = len(set(talks)) if unit == "talks" else len(talks)
    return Comparison(unit, n_units, n_resamples, seed, baseline, scores, differences)


def resample(talks: Sequence[str], unit: Unit, n_resamples: int, seed: int) -> Counts:
    """How often each segment is drawn: float64 ``[n_resamples, n]``; segments of one talk go together for ``talks``."""
    rng = np.random.default_rng(seed)
    if unit == "segments":
        return rng.multinomial(len(talks), np.full(len(talks), 1 / len(talks)), n_resamples).astype(np.float64)
    names = list(dict.fromkeys(talks))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_resamples)
    return drawn[:, [names.index(talk) for talk in talks]].astype(np.float64)


def _values(counts: Counts, metric: str, weights: Counts) -> Counts:
    return np.array([_FROM_SUMS[metric](sums) for sums in weights @ counts])


def _interval(value: float, drawn: Counts, test: bool = False) -> Interval:
    known = drawn[~np.isnan(drawn)]
    low, high = np.quantile(known, (0.025, 0.975))
    p_value = None
    if test:
        # Under the null hypothesis differences scatter around 0 as the drawn ones do around their mean. A tolerance
        # keeps two equal runs, whose differences are 0 or rounding, at p = 1.
        extreme = np.abs(known - known.mean()) >= abs(value) - 1e-9
        p_value = float((extreme.sum() + 1) / (len(known) + 1))
    return Interval(value, float(low), float(high), p_value)


def _summed(values: Sequence[float | None]) -> Counts:
    return np.array([(0.0, 0.0) if value is None else (value, 1.0) for value in values])


def _bleu(sums: Counts) -> float:
    return float(_BLEU._compute_score_from_stats([int(count) for count in sums.round()]).score)


def _chrf(sums: Counts) -> float:
    return float(_CHRF._compute_score_from_stats([int(count) for count in sums.round()]).score)


def _mean(sums: Counts) -> float:
    return float(sums[0] / sums[1]) if sums[1] else float("nan")


_BLEU, _CHRF = BLEU(force=True), CHRF()
_FROM_SUMS: dict[str, Callable[[Counts], float]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "comet": _mean,
    "cu_ms": _mean,
    "ca_ms": _mean,
}
