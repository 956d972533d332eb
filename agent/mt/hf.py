"""The ``hf`` engine: greedy drafts from Transformers, rows from the SDPA capture, a KV cache kept per stream."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from agent.config import MtConfig
from agent.errors import UserError
from agent.mt.attention import IMPLEMENTATION, RowCapture, capturing
from agent.mt.drafter import Draft, DraftRequest
from agent.paths import resolve
from agent.stages import locked, stage

MAX_KEPT_STREAMS = 64


@dataclass
class _Kept:
    """KV cache of a stream and the token ids it holds, position by position."""

    ids: list[int]
    cache: Any


class HFDrafter:
    """A decoder-only Transformers model as a `Drafter`.

    One forward pass at a time; calls from other threads wait. ``model`` must use the capture's attention
    implementation for requests that name heads. ``end_ids``: tokens that end the assistant turn.
    """

    def __init__(self, model: Any, end_ids: Sequence[int], threads: int = 1) -> None:
        self.model = model
        self._end_ids = frozenset(end_ids)
        self._threads = threads
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
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
        n_prefilled = len(ids) - len(kept.ids)
        own = request.row_convention == "own"
        capture = RowCapture(request.heads, request.source_span) if request.heads else None
        tokens: list[int] = []
        log_probs: list[float] = []
        finish = "length"
        with capturing(capture):
            with stage("prefill"):
                logits = self._forward(kept, ids[len(kept.ids) :], capture)
            while True:
                token = int(logits.argmax())
                if token in self._end_ids:
                    finish = "end_of_turn"
                    break
                log_probs.append(float(torch.log_softmax(logits, dim=-1)[token]))
                tokens.append(token)
                last = len(tokens) == request.max_new_tokens
                if last and not (own and capture is not None):
                    break
                logits = self._forward(kept, [token], capture)
                if last:
                    break
        # Only now: a pass that failed half-way leaves a cache that no longer matches its ids.
        if request.stream:
            self._kept[request.stream] = kept
            while len(self._kept) > MAX_KEPT_STREAMS:
                self._kept.popitem(last=False)
        n_tokens, width = len(tokens), request.source_span[1] - request.source_span[0]
        rows = np.zeros((0, n_tokens, width), dtype=np.float32)
        if capture is not None:
            rows = capture.rows()[:, own : n_tokens + own].numpy()
        return Draft(
            tuple(tokens),
            "end_of_turn" if finish == "end_of_turn" else "length",
            rows,
            np.asarray(log_probs, dtype=np.float32),
            n_forward=len(kept.ids) - len(ids),
            n_prefilled=n_prefilled,
        )

    def _reuse(self, stream: str, ids: list[int]) -> _Kept:
        """The stream's cache cut back to the longest prefix shared with ``ids`` (the last token is always redone)."""
        kept = self._kept.pop(stream, None) if stream else None
        if kept is None:
            # A cache without configuration keeps whole layers, also for sliding windows: it can be cut anywhere.
            kept = _Kept([], DynamicCache())
        shared = 0
        for a, b in zip(kept.ids, ids[:-1], strict=False):
            if a != b:
                break
            shared += 1
        if shared < len(kept.ids):
            kept.cache.crop(shared - len(kept.ids))  # negative: how many positions to drop
            del kept.ids[shared:]
        return kept

    def _forward(self, kept: _Kept, ids: list[int], capture: RowCapture | None) -> torch.Tensor:
        """Run ``ids`` after what ``kept`` holds; float32 logits ``[vocabulary]`` of the last position."""
        if capture is not None:
            capture.start_pass()
        batch = torch.tensor([ids], device=self.model.device)
        output = self.model(input_ids=batch, past_key_values=kept.cache, use_cache=True, logits_to_keep=1)
        kept.ids.extend(ids)
        logits: torch.Tensor = output.logits[0, -1].float()
        return logits


def load_model(config: MtConfig, attention: str = IMPLEMENTATION) -> tuple[Any, Any]:
    """(model in eval mode, tokenizer) of ``config.model``. UserError when the weights are absent or cannot be used."""
    path = resolve(config.model)
    name = str(path) if path.is_dir() else config.model
    if not path.is_dir() and (config.model.startswith((".", "/", "~", "demo/")) or config.model.count("/") != 1):
        raise UserError(f"No model folder {config.model}: give a folder or hub id with --set mt.model=…")
    if path.is_dir() and not any(path.glob("*.safetensors")):
        raise UserError(f"Model folder {path} has no *.safetensors weights; download or build them there.")
    dtype = getattr(torch, config.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UserError(f"Key 'mt.dtype': '{config.dtype}' is no number type; use float32, bfloat16 or float16.")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    revision = {"revision": config.revision} if config.revision else {}
    if weights_file(config):
        transformers.utils.logging.disable_progress_bar()  # one small file: nothing to wait for
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **revision)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, attn_implementation=attention, **revision)
        loaded: Any = model
        loaded = loaded.to(device).eval()
    except (OSError, ValueError, RuntimeError, AssertionError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"Cannot load mt.model {config.model}: {reason} Give a folder or download it.") from error
    return loaded, tokenizer


def end_of_turn_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token id that ends an assistant turn: the model's and the tokenizer's end tokens."""
    listed = model.generation_config.eos_token_id
    ids = set(listed if isinstance(listed, list) else [] if listed is None else [listed])
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return sorted(ids)


def weights_file(config: MtConfig) -> Path | None:
    """The single weight file of a local model folder, for manifests."""
    files = sorted(resolve(config.model).glob("*.safetensors"))
    return files[0] if len(files) == 1 else None
