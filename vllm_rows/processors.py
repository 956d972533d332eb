"""The in-step stop as a logits processor of vLLM, for both model runners (``vllm_rows.processors:StopProcessor``).

It runs after the forward pass, so the step's query and keys are in place, and before sampling. Logits of a request
are touched only in the step that ends it. Log-probabilities are vLLM's raw ones and not touched at all.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from vllm_rows.options import CONFIG_KEY
from vllm_rows.tracker import TrackedRequest
from vllm_rows.vllm_internals import internal, internal_if_there
from vllm_rows.worker import tracker_of


class StopMixin:
    """What both interfaces share. ``keys``: batch index (V1) or request slot (V2) → key of a request with a rule."""

    def __init__(self, vllm_config: Any, *_: Any) -> None:
        """V1 passes a device and a pinned-memory flag after the configuration, V2 its request states."""
        self.vllm_config = vllm_config
        self.keys: dict[int, str] = {}
        self._starts_word = vllm_config.additional_config[CONFIG_KEY]["starts_word"]
        self._mask: torch.Tensor | None = None

    def is_argmax_invariant(self) -> bool:
        """V1 interface: it changes what greedy sampling picks."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """V1 interface: follow requests through the batch."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self.keys.pop(index, None)
        for index, params, *_ in batch_update.added:
            self.add_request(index, params)
        swap = internal("MoveDirectionality").SWAP
        for start, end, direction in batch_update.moved:
            moved, displaced = self.keys.pop(start, None), self.keys.pop(end, None)
            if moved is not None:
                self.keys[end] = moved
            if direction == swap and displaced is not None:
                self.keys[start] = displaced

    def add_request(self, index: int, params: Any) -> bool:
        """V2 interface, and V1's additions: take over an index, whoever had it before."""
        request = (params.extra_args or {}).get(CONFIG_KEY) or {}
        if request.get("stop") is None:
            self.keys.pop(index, None)
            return False
        self.keys[index] = request["key"]
        return True

    def apply(self, logits: torch.Tensor, context: Any = None) -> torch.Tensor:
        """Both interfaces: put the stop token first where the rule refuses. ``logits`` [batch, vocabulary]."""
        tracker = tracker_of(self.vllm_config) if self.keys else None
        if tracker is None:
            return logits
        order = range(logits.shape[0]) if context is None else context.idx_mapping_np.tolist()
        for row, index in enumerate(order):
            request = tracker.find(self.keys[index]) if index in self.keys else None
            # A prompt that comes in pieces, or is computed again, has no new row; nor has a token behind the last one.
            if request is not None and request.next_row < request.computed <= request.end_row:
                tracker.replay(request)
                if request.next_row == request.computed:
                    self._decide(request, tracker.order, logits[row])
        return logits

    def _decide(self, request: TrackedRequest, order: list[int], logits: torch.Tensor) -> None:
        rule = request.stop
        if rule is None:
            return
        token = logits.argmax()
        last, request.sampled = request.sampled, token
        n_tokens = request.computed - 1 - request.first_row  # drafted before this step
        if (own := rule["row"] == "own") and n_tokens == 0:
            return
        weights = torch.tensor([rule["weights"][index] for index in order], dtype=torch.float32, device=logits.device)
        peak = torch.mv(request.chunks[-1][:, -1].T, weights).argmax()
        judged = last if own and last is not None else token
        refuse = peak >= rule["limit_column"]
        if n_tokens - own > 0 or not rule["first_token"]:
            refuse &= self._starts(logits)[judged]
        if request.refused is None:
            request.refused = torch.full_like(token, -1)
        refuse &= request.refused < 0
        # A step that was scheduled ahead may come behind the draft's end.
        for end in request.ends if last is not None else ():
            refuse &= last != end
        request.refused = torch.where(refuse, judged, request.refused)
        stopped = torch.full_like(logits, float("-inf"))
        stopped[rule["stop_token_id"]] = 0.0
        logits.copy_(torch.where(refuse, stopped, logits))

    def _starts(self, logits: torch.Tensor) -> torch.Tensor:
        """bool ``[vocabulary]``: tokens that start a word."""
        if self._mask is None:
            ids = np.load(self._starts_word) if isinstance(self._starts_word, str) else self._starts_word
            ids = np.asarray(ids, dtype=np.int64)
            self._mask = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            # A tokenizer may have tokens that the model has no logits of.
            self._mask[torch.as_tensor(ids[ids < logits.shape[-1]], device=logits.device)] = True
        return self._mask


@cache
def _stop_processor() -> type[Any]:
    second = internal_if_there("LogitsProcessorV2")  # older versions have no processors in model runner V2
    return type("StopProcessor", (StopMixin, internal("LogitsProcessorV1"), *((second,) if second else ())), {})


def __getattr__(name: str) -> type[Any]:
    if name == "StopProcessor":
        return _stop_processor()
    raise AttributeError(name)
