"""The keys of the ``voxtral`` recogniser: Voxtral Realtime on vLLM, with word times from Qwen3-ForcedAligner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from agent.asr.aligned import AlignedConfig
from agent.errors import UserError
from agent.keys import key


@dataclass(frozen=True)
class VoxtralConfig(AlignedConfig):
    """Voxtral Realtime, live; it goes on from what it wrote for the tail before. docs/asr.md says how to set it up."""

    model: str = "mistralai/Voxtral-Mini-4B-Realtime-2602"
    """Folder or hub id of the recogniser's model."""
    delay_ms: int = key(480, one_of=(*range(80, 1201, 80), 2400))
    """How long after it was heard a word is written."""

    @property
    def engine(self) -> str:
        """Always vLLM."""
        return "vllm"

    def checked(self) -> Self:
        """UserError when the tail cannot hold what is still to be written."""
        # Half of the tail may be given up while nothing is written of it: it has to hold the delay and a word.
        least_s = 2 * (self.delay_ms / 1000 + 1)
        if self.max_live_s < least_s:
            raise UserError(
                f"Key 'asr.max_live_s' must be at least {least_s:g} with asr.delay_ms={self.delay_ms}, "
                f"not {self.max_live_s}."
            )
        return super().checked()

    def load(self, source_lang: str) -> tuple[Any, Any]:
        """Both models. UserError when one is absent, of the wrong kind or layout, or vLLM not installed."""
        from agent.asr.qwen3.build import build_aligner
        from agent.asr.voxtral.build import build_transcriber  # only here: imports torch

        return build_transcriber(self, source_lang), build_aligner(self.aligner, self.max_live_s, self.timeout_s)
