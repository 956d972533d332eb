"""Captured rows as they come back from an engine's ranks, joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vllm_rows.errors import CaptureError


@dataclass(frozen=True)
class CapturedRows:
    """Attention rows of one request.

    ``rows``: float32 ``[heads, rows, span]`` in the order of the engine's heads: softmax over all causal columns (with
    the layer's own mask), cut to the span and not renormalised. Row ``i`` is the query at ``first_position + i``.
    There may be more rows than tokens were accepted: an engine that schedules ahead computes one more.
    ``refused_token``: what the `StopRule` refused, None where it did not stop.
    """

    rows: npt.NDArray[np.float32]
    first_position: int
    refused_token: int | None = None


def merge(parts: Sequence[dict[str, Any] | None]) -> CapturedRows | None:
    """Join what ``collective_rpc("fetch_rows", args=(key,))`` returned, one entry per rank.

    None when no rank knows the key (never seen, fetched before, or dropped because nobody fetched it for long).
    `CaptureError` when the request could not be served or ranks disagree.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return None
    for part in known:
        if part["error"]:
            raise CaptureError(part["error"])
    first = known[0]
    shape = (first["n_heads"], first["n_rows"], first["width"])
    rows = np.full(shape, np.nan, dtype=np.float32)
    filled = set()
    for part in known:
        if (part["n_rows"], part["width"], part["first_position"]) != (*shape[1:], first["first_position"]):
            raise CaptureError(f"Ranks disagree on the rows of request '{first['key']}'.")
        if part["heads"]:
            rows[part["heads"]] = np.frombuffer(part["rows"], dtype=np.float32).reshape(-1, *shape[1:])
            filled.update(part["heads"])
    if len(filled) != shape[0]:
        missing = sorted(set(range(shape[0])) - filled)
        raise CaptureError(f"No rank returned rows of head number(s) {missing} of engine_options.")
    refused = [part["refused_token"] for part in known if part["refused_token"] is not None]
    return CapturedRows(rows, first["first_position"], refused[0] if refused else None)
