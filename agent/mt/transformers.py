"""The ``transformers`` backend: greedy drafts, rows from the SDPA capture, a KV cache kept per stream."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from agent.mt.attention import RowCapture, capturing
from agent.mt.drafter import Draft, DraftRequest, Finish, common_prefix
from agent.stages import locked, stage

MAX_KEPT_STREAMS = 64


@dataclass
class _StreamCache:
    """KV cache of a stream and the token ids it holds, position by position."""

    ids: list[int]
    cache: Any


class TransformersDrafter:
    """A decoder-only Transformers model as a `Drafter`.

    One forward pass at a time; calls from other threads wait. ``model`` must use the capture's attention
    implementation for requests that name heads. ``end_ids``: tokens that end the assistant turn.
    """

    def __init__(self, model: Any, end_ids: Sequence[int], threads: int = 1) -> None:
        self.model = model
        self._end_ids = frozenset(end_ids)
        self._threads = threads
        self._kept: OrderedDict[str, _StreamCache] = OrderedDict()
        self._lock = threading.Lock()

    def forget(self, stream: str) -> None:
        """Drop the KV cache of ``stream``."""
        with self._lock:
            self._kept.pop(stream, None)

    def draft(self, request: DraftRequest) -> Draft:
        """Greedy draft; see `agent.mt.drafter.Draft` for shapes."""
        with locked(self._lock), torch.inference_mode():
            if self.model.device.type == "cpu" and torch.get_num_threads() != self._threads:
                torch.set_num_threads(self._threads)
            return self._draft(request)

    @stage("decode")
    def _draft(self, request: DraftRequest) -> Draft:
        ids = [*request.prompt_ids, *request.prefix_ids]
        kept = self._reuse(request.stream, ids)
        decoding = _Decoding(request, self._end_ids)
        new_ids = [*ids[len(kept.ids) :], *decoding.guess]
        with capturing(decoding.capture):
            with stage("prefill"):
                logits = self._forward(kept, new_ids, decoding.capture, 1 + len(decoding.guess))
            while (token := decoding.advance(logits)) is not None:
                # The first time, this drops what was guessed wrong.
                self._cut(kept, len(ids) + len(decoding.token_ids) - 1)
                logits = self._forward(kept, [token], decoding.capture, 1)
        # Only now: a pass that failed half-way leaves a cache that no longer matches its ids.
        if request.stream:
            self._kept[request.stream] = kept
            while len(self._kept) > MAX_KEPT_STREAMS:
                self._kept.popitem(last=False)
        return decoding.draft(n_prefilled=len(new_ids))

    def _reuse(self, stream: str, ids: list[int]) -> _StreamCache:
        """The stream's cache cut back to the longest prefix shared with ``ids`` (the last token is always redone)."""
        kept = self._kept.pop(stream, None) if stream else None
        if kept is None:
            # A cache without configuration keeps whole layers, also for sliding windows: it can be cut anywhere.
            kept = _StreamCache([], DynamicCache())
        self._cut(kept, common_prefix(kept.ids, ids[:-1]))
        return kept

    def _cut(self, kept: _StreamCache, length: int) -> None:
        if length < len(kept.ids):
            kept.cache.crop(length - len(kept.ids))  # negative: how many positions to drop
            del kept.ids[length:]

    def _forward(self, kept: _StreamCache, ids: list[int], capture: RowCapture | None, n_last: int) -> torch.Tensor:
        """Run ``ids`` after what ``kept`` holds; float32 logits ``[n_last, vocabulary]`` of the last positions."""
        if capture is not None:
            capture.start_pass(n_last)
        batch = torch.tensor([ids], device=self.model.device)
        output = self.model(input_ids=batch, past_key_values=kept.cache, use_cache=True, logits_to_keep=n_last)
        kept.ids.extend(ids)
        logits: torch.Tensor = output.logits[0, -n_last:].float()
        return logits


class _Decoding:
    """One draft in the making: chooses tokens from logits until the draft ends."""

    def __init__(self, request: DraftRequest, end_ids: frozenset[int]) -> None:
        self.guess = request.guess_ids[: request.max_new_tokens]
        self.capture = RowCapture(request.heads, request.source_span) if request.heads else None
        self.token_ids: list[int] = []
        self._request = request
        self._end_ids = end_ids
        self._own = request.row_convention == "own" and self.capture is not None
        self._log_probs: list[float] = []
        self._n_passes = 0
        self._finish: Finish = "length"

    def advance(self, logits: torch.Tensor) -> int | None:
        """Choose on from a pass's ``logits`` ``[positions, vocabulary]``; those after a wrong guess mean nothing.

        Returns the token to compute next, or None when the draft is complete.
        """
        self._n_passes += 1
        for position in logits:
            # The own row of a token comes with the pass that computes it.
            if self._own and self._is_complete():
                return None
            token = int(position.argmax())
            if token in self._end_ids:
                self._finish = "end_of_turn"
                return None
            self.token_ids.append(token)
            self._log_probs.append(float(torch.log_softmax(position, dim=-1)[token]))
            if not self._own and self._is_complete():
                return None
            if self._n_passes > 1 or token not in self.guess[len(self.token_ids) - 1 : len(self.token_ids)]:
                break
        if self.capture is not None:
            self.capture.keep(len(self.token_ids))
        return self.token_ids[-1]

    def draft(self, n_prefilled: int) -> Draft:
        """The complete draft."""
        return Draft(
            tuple(self.token_ids),
            self._finish,
            self._rows(),
            np.asarray(self._log_probs, dtype=np.float32),
            n_forward=self._n_passes - 1,
            n_prefilled=n_prefilled,
            n_guessed=common_prefix(self.token_ids, self.guess),
        )

    def _is_complete(self) -> bool:
        if not self.token_ids:
            return False
        stop = self._request.stop
        if stop is not None and stop.holds(tuple(self.token_ids), self._rows()):
            self._finish = "stopped"
            return True
        return len(self.token_ids) == self._request.max_new_tokens

    def _rows(self) -> npt.NDArray[np.float32]:
        n_tokens, (start, end) = len(self.token_ids), self._request.source_span
        if self.capture is None:
            return np.zeros((0, n_tokens, end - start), dtype=np.float32)
        rows: npt.NDArray[np.float32] = self.capture.rows()[:, self._own : n_tokens + self._own].numpy()
        return rows
