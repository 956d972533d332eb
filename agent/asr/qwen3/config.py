"""The keys of the ``qwen3`` recogniser: Qwen3-ASR with its forced aligner. docs/asr.md says how to set it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from agent.asr.aligned import AlignedConfig


@dataclass(frozen=True)
class Qwen3Config(AlignedConfig):
    """Qwen3-ASR, live, with Qwen3-ForcedAligner for word times."""

    model: str = "Qwen/Qwen3-ASR-1.7B-hf"
    """Folder or hub id of the recogniser's model."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """Transformers, one request at a time, or vLLM, which batches the requests of all streams."""
    context: str = ""
    """Words to expect, e.g. names and terms of the talk."""

    @property
    def engine(self) -> str:
        """As configured."""
        return self.backend

    def load(self, source_lang: str) -> tuple[Any, Any]:
        """Both models. UserError when one is absent, of the wrong kind or layout, or its backend not installed."""
        from agent.asr.qwen3.build import build_aligner, build_transcriber  # only here: imports torch

        return build_transcriber(self, source_lang), build_aligner(self.aligner, self.max_live_s, self.timeout_s)
