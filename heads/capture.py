"""Rows of many heads for a batch of teacher-forced sequences, reduced while the layer runs.

Keeping every row of every head of a large model would take gigabytes. What calibration needs of a row is where it peaks
inside the source, whether anything outside the source is stronger, and, for mean rows, the row cut to the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from agent.mt.attention import AttentionCall
from agent.mt.drafter import Head

ROW_SCALE = 2.0**15
"""Rows are stored as float16 times this: weights down to 2e-9 keep their precision, 1.0 stays finite."""


@dataclass(frozen=True)
class RowRequest:
    """What to read of one sequence: its ``length``, the source columns [start, end), and query ``positions``."""

    length: int
    source_span: tuple[int, int]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Reduced:
    """Of one sequence: ``peaks`` int16 ``[heads, positions]``, source column of the largest weight; ``inside`` bool of
    the same shape, whether no column outside the source is larger; ``rows`` float16 ``[heads, positions, source
    tokens]``, not renormalised, times `ROW_SCALE`."""

    peaks: npt.NDArray[np.int16]
    inside: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.float16]


class BatchCapture:
    """Receives the layers of one forward pass over a right-padded batch (see `agent.mt.attention.capturing`).

    Padding on the right needs no mask: no real position can see it.
    """

    def __init__(self, heads: Sequence[Head], wanted: Sequence[RowRequest]) -> None:
        self.heads = tuple(heads)
        self.wanted = tuple(wanted)
        self._by_layer: dict[int, list[int]] = {}
        for index, head in enumerate(self.heads):
            self._by_layer.setdefault(head.layer, []).append(index)
        self._results = [
            Reduced(
                np.zeros((len(heads), len(item.positions)), dtype=np.int16),
                np.zeros((len(heads), len(item.positions)), dtype=np.bool_),
                np.zeros((len(heads), len(item.positions), item.source_span[1] - item.source_span[0]), np.float16),
            )
            for item in self.wanted
        ]
        self.seen: set[int] = set()
        """Layers that have delivered."""

    def add(self, call: AttentionCall) -> None:
        """One layer of the whole batch."""
        indices = self._by_layer.get(call.layer)
        if not indices:
            return
        self.seen.add(call.layer)
        heads = [self.heads[index].head for index in indices]
        for number, item in enumerate(self.wanted):
            positions = torch.tensor(item.positions, device=call.query.device)
            weights = call.weights(number, heads, positions, item.length)
            start, end = item.source_span
            rows = weights[:, :, start:end]
            strongest = rows.max(dim=-1)
            result = self._results[number]
            result.peaks[indices] = strongest.indices.to(torch.int16).cpu().numpy()
            result.inside[indices] = (strongest.values >= weights.amax(dim=-1)).cpu().numpy()
            result.rows[indices] = (rows * ROW_SCALE).to(torch.float16).cpu().numpy()

    def results(self) -> list[Reduced]:
        """What was read of each sequence, in order. RuntimeError when a layer never came by."""
        missing = sorted(set(self._by_layer) - self.seen)
        if missing:
            raise RuntimeError(f"layers {missing} did not use the capture's attention")
        return self._results
