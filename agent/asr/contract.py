"""The recogniser contract: audio in, words on absolute stream time out; and the configuration that makes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from agent.catalogue import NamedModel
from agent.words import Hypothesis

SAMPLE_RATE_HZ = 16_000

Samples = npt.NDArray[np.float32]


class Recogniser(Protocol):
    """One stream of audio. Not shared between streams; models behind it may be.

    ``push`` and ``flush`` return a `Hypothesis` whose word times are absolute stream seconds, start <= end, monotone
    and never beyond the audio heard. The live tail is bounded in seconds.
    """

    def push(self, samples: Samples) -> Hypothesis:
        """Hear more audio: float32 mono 16 kHz in [-1, 1], any length, also zero. ValueError if not finite and 1-D."""

    def flush(self) -> Hypothesis:
        """End of the stream: everything still live is committed, ``live`` is empty."""

    def reset(self) -> None:
        """Forget the stream; time starts again at 0. Idempotent."""


@runtime_checkable
class AligningRecogniser(Recogniser, Protocol):
    """A recogniser that knows the words of a push before their times.

    ``on_words`` is called, on the thread that pushes, with what the push is going to return; every word lies at
    ``now_s``. What a push returns may differ where times decide what is committed.
    """

    on_words: Callable[[Hypothesis], None] | None


@dataclass(frozen=True)
class RecogniserConfig(ABC):
    """A kind of recogniser: its fields are its configuration keys, beside ``asr.recogniser``."""

    @abstractmethod
    def open(self, source_lang: str) -> Recogniser:
        """A recogniser for one stream. Models are loaded once per process. UserError when one cannot be used."""

    @property
    def models(self) -> tuple[NamedModel, ...]:
        """The models that it wants, under their configuration keys."""
        return ()

    def checked(self) -> Self:
        """What the bounds of single keys cannot say: UserError, or the configuration with what follows from it."""
        return self
