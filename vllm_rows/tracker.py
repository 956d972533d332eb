"""Follows requests through the scheduler's output and replays their rows before the keys are gone.

Works alike for both of vLLM's model runners: it looks at `SchedulerOutput` alone. A row is replayed once, as late as
possible: when its request has finished, is preempted or fetched, or when a sliding-window block that it needs is about
to be given away. All of this happens at the entry of a step, before the forward pass that could overwrite anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from vllm_rows.layers import CapturedLayer
from vllm_rows.options import CONFIG_KEY


@dataclass
class TrackedRequest:
    """A request and its rows so far. Positions count from the prompt's first token."""

    key: str
    span: tuple[int, int]
    n_rows: int
    first_row: int
    stop: dict[str, Any] | None
    check: bool
    ends: tuple[int, ...] = ()
    """Tokens that end the request."""
    error: str | None = None
    blocks: list[list[int]] | None = None
    """Block ids per KV cache group; None while the request holds no blocks."""
    pool_start: int | None = None
    """First of its rows in the recorders' pools; None while it holds none."""
    computed: int = 0
    """Positions whose forward pass has been issued."""
    next_row: int = 0
    """Position of the first row that has not been replayed."""
    chunks: list[torch.Tensor] = field(default_factory=list)
    fetched_rows: int = -1
    sampled: torch.Tensor | None = None
    refused: torch.Tensor | None = None
    deviations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def end_row(self) -> int:
        """Position after the last row that is wanted."""
        return self.first_row + self.n_rows

    @property
    def ready_rows(self) -> int:
        """Rows that exist by now, replayed or not."""
        return max(0, min(self.computed, self.end_row) - self.first_row)


class Tracker:
    """Requests of one rank. ``max_rows`` per request, room for ``max_requests`` in flight."""

    def __init__(self, layers: Sequence[CapturedLayer], max_requests: int, max_rows: int) -> None:
        self.layers = list(layers)
        self.order = [index for layer in self.layers for index in layer.order]
        self.max_rows = max_rows
        self.live: dict[str, TrackedRequest] = {}
        self.done: OrderedDict[str, TrackedRequest] = OrderedDict()
        self.max_done = max(64, 4 * max_requests)
        self.n_replays = self.n_preempted = 0
        # Row 0 is nobody's. The scheduler runs at most max_requests at once and rows are given back before a step
        # hands out new ones, so the pool cannot run dry.
        self._free = [1 + index * max_rows for index in range(max_requests)]
        self._groups = {layer.group: (layer.block_size, layer.recorder.row_of_slot) for layer in self.layers}

    def step(self, output: Any) -> None:
        """Take in a `SchedulerOutput`, before its forward pass is issued."""
        for request_id in output.finished_req_ids:
            self._finish(request_id)
        for request_id in output.preempted_req_ids or ():
            self.n_preempted += request_id in self.live
            self._suspend(request_id)
        for request in self.live.values():
            if request.blocks is not None and self._loses_keys(request):
                self.replay(request)
        for new in output.scheduled_new_reqs:
            self._start(new, output.num_scheduled_tokens[new.req_id])
        cached = output.scheduled_cached_reqs
        for index, request_id in enumerate(cached.req_ids):
            known = self.live.get(request_id)
            if known is None:
                continue
            blocks = cached.new_block_ids[index]
            if request_id in cached.resumed_req_ids:
                self._suspend(request_id)
                known.blocks = [list(group) for group in blocks]
            elif blocks is not None and known.blocks is not None:
                for held, added in zip(known.blocks, blocks, strict=True):
                    held.extend(added)
            known.computed = cached.num_computed_tokens[index] + output.num_scheduled_tokens[request_id]
            if blocks is not None:
                self._map(known)

    def fetch(self, key: str) -> TrackedRequest | None:
        """The request with everything replayed that was computed; it is forgotten when it has finished."""
        request = self.done.pop(key, None) or self.find(key)
        if request is None:
            return None
        self.replay(request)
        request.fetched_rows = request.ready_rows
        return request

    def find(self, key: str) -> TrackedRequest | None:
        """The live request of this key."""
        return next((request for request in self.live.values() if request.key == key), None)

    def _start(self, new: Any, n_scheduled: int) -> None:
        """A request that is scheduled for the first time, or again (model runner V2 sends a resumed one as new)."""
        request = self.live.get(new.req_id)
        if request is None:
            asked = (new.sampling_params.extra_args or {}).get(CONFIG_KEY) if new.sampling_params else None
            if asked is None:
                return
            n_prompt = len(new.prompt_token_ids or ())
            span, stop, check = tuple(asked["span"]), asked.get("stop"), asked.get("check", False)
            first_row = n_prompt - 1 - asked["before"]
            request = TrackedRequest(asked["key"], span, asked["rows"], first_row, stop, check)
            request.next_row = request.first_row
            request.ends = tuple(new.sampling_params.all_stop_token_ids)
            request.error = self._refuse(request, n_prompt, new.num_computed_tokens)
            self.live[new.req_id] = request
        else:
            self._suspend(new.req_id)
        request.blocks = [list(group) for group in new.block_ids]
        request.computed = new.num_computed_tokens + n_scheduled
        self._map(request)

    def _refuse(self, request: TrackedRequest, n_prompt: int, n_cached: int) -> str | None:
        if request.n_rows > self.max_rows:
            return f"{request.n_rows} rows were asked for; the engine was started with max_rows={self.max_rows}."
        if request.span[1] > n_prompt:
            return f"Span {request.span[0]}:{request.span[1]} ends behind the prompt of {n_prompt} tokens."
        if not 0 <= n_cached <= request.first_row:
            return f"Rows from position {request.first_row} on were asked for; {n_cached} positions are cached ones."
        return None

    def _finish(self, request_id: str) -> None:
        request = self.live.get(request_id)
        if request is None:
            return
        self._suspend(request_id)
        del self.live[request_id]
        if request.fetched_rows != request.ready_rows:
            self.done[request.key] = request
        while len(self.done) > self.max_done:
            self.done.popitem(last=False)

    def _suspend(self, request_id: str) -> None:
        """Replay what was computed, then let go of blocks and pool rows."""
        request = self.live.get(request_id)
        if request is None or request.blocks is None:
            return
        self.replay(request)
        self._write_rows(request, request.first_row, clear=True)
        if request.pool_start is not None:
            self._free.append(request.pool_start)
        request.blocks = request.pool_start = None

    def _map(self, request: TrackedRequest) -> None:
        """Make the slots of the rows still to come feed this request's rows of the pool.

        Rows that exist are left out: after a preemption their slots may be blocks shared with another request.
        """
        if request.error is not None:
            return
        if request.pool_start is None:
            request.pool_start = self._free.pop()
        self._write_rows(request, request.next_row)

    def _write_rows(self, request: TrackedRequest, first: int, clear: bool = False) -> None:
        if request.blocks is None or request.pool_start is None:
            return
        for group, (block_size, row_of_slot) in self._groups.items():
            blocks = request.blocks[group]
            # A block 0 stands for one that a sliding window has given back.
            positions = [
                position
                for position in range(first, min(request.end_row, len(blocks) * block_size))
                if blocks[position // block_size]
            ]
            if not positions:
                continue
            slots = [blocks[p // block_size] * block_size + p % block_size + 1 for p in positions]
            device = row_of_slot.device
            places = torch.tensor(slots, device=device)
            rows = torch.tensor([request.pool_start + p - request.first_row for p in positions], device=device)
            if clear:  # not where a block that the window has given back is another request's by now
                held = row_of_slot[places]
                rows = torch.where(held == rows, 0, held)
            row_of_slot.index_copy_(0, places, rows)

    def _loses_keys(self, request: TrackedRequest) -> bool:
        """Whether the scheduler may have given back a block that a row not replayed yet still needs."""
        if request.next_row >= min(request.computed, request.end_row):
            return False
        for layer in self.layers:
            if layer.window:
                first_kept = max(0, request.computed - layer.window + 1) // layer.block_size * layer.block_size
                if first_kept > max(0, request.next_row - layer.window + 1):
                    return True
        return False

    @torch.inference_mode()
    def replay(self, request: TrackedRequest) -> None:
        """Turn recorded queries into rows, for every position that has been computed since the last time."""
        start, end = request.next_row, min(request.computed, request.end_row)
        if end <= start or request.blocks is None or request.pool_start is None:
            return
        request.next_row = end
        if not self.layers:
            return
        self.n_replays += 1
        offset = request.pool_start - request.first_row
        device = self.layers[0].recorder.queries.device
        pool_rows = torch.arange(start + offset, end + offset, device=device)
        left, right = request.span
        parts = []
        for layer in self.layers:
            blocks = request.blocks[layer.group]
            rows, first_key = layer.rows(pool_rows, blocks, start, end)
            if request.check:
                request.deviations.append(_deviation(layer, rows, pool_rows, blocks, start, first_key))
            if first_key > left or first_key + rows.shape[2] < right:
                wide = rows.new_zeros(rows.shape[0], rows.shape[1], right - left)
                low, high = max(left, first_key), min(right, first_key + rows.shape[2])
                if high > low:
                    wide[:, :, low - left : high - left] = rows[:, :, low - first_key : high - first_key]
                parts.append(wide)
            else:
                parts.append(rows[:, :, left - first_key : right - first_key])
        request.chunks.append(torch.cat(parts))


def _deviation(
    layer: CapturedLayer, rows: torch.Tensor, pool_rows: torch.Tensor, blocks: Sequence[int], start: int, first_key: int
) -> dict[str, Any]:
    """Where row·V is farthest from what the kernel put out, relative to row·|V|."""
    replayed, scale = layer.attended(rows, blocks, first_key)
    kernel = layer.recorder.outputs.index_select(0, pool_rows).float().transpose(0, 1)
    relative = (replayed - kernel).abs() / scale.clamp_min(1e-20)
    relative = torch.where(relative.isfinite(), relative, torch.full_like(relative, float("inf")))
    head, row, column = (int(i) for i in torch.unravel_index(relative.argmax(), relative.shape))
    return {
        "layer": layer.number,
        "order": layer.order[head],
        "position": start + row,
        "dimension": column,
        "replayed": float(replayed[head, row, column]),
        "kernel": float(kernel[head, row, column]),
        "relative": float(relative[head, row, column]),
    }
