"""A speech processor without models: says one word per chunk, made from what it heard."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from simulstream.server.speech_processors import IncrementalOutput, SpeechProcessor


class EchoAgent(SpeechProcessor):
    """Word ``n:level`` for chunk n; the language code at the end of the stream. Reports its steps."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__(config)
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self.target = ""
        self.clear()

    @classmethod
    def load_model(cls, config: SimpleNamespace) -> None:
        """Nothing to load."""

    def set_source_language(self, language: str) -> None:
        """Not used."""

    def set_target_language(self, language: str) -> None:
        """Said at the end."""
        self.target = language

    def process_chunk(self, waveform: Any) -> IncrementalOutput:
        """One word."""
        self.count += 1
        self.now_s += len(waveform) / 16_000
        if getattr(self.config, "fail_at", 0) == self.count:
            raise RuntimeError("the agent broke")
        if getattr(self.config, "interrupt_at", 0) == self.count:
            raise KeyboardInterrupt
        word = f"{self.count}:{round(float(np.abs(waveform).mean()) * 10)}"
        for listener in self.listeners:
            listener(
                {
                    "now_s": self.now_s,
                    "source": ["heard", str(self.count)],
                    "accepted": word,
                    "held": "later",
                    "stop_reason": "border",
                }
            )
        return self._say(word)

    def end_of_stream(self) -> IncrementalOutput:
        """The language."""
        return self._say(f"<{self.target}>")

    def tokens_to_string(self, tokens: list[str]) -> str:
        """Words with spaces between."""
        return " ".join(tokens)

    def clear(self) -> None:
        """Begin again."""
        self.count = 0
        self.now_s = 0.0

    def add_listener(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Called once per step."""
        self.listeners.append(listener)

    def _say(self, word: str) -> IncrementalOutput:
        return IncrementalOutput([word], word, [], "")


class Unfinished(SpeechProcessor):
    """Abstract."""


class NotAProcessor:
    """Something else."""
