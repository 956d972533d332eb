"""Where somebody speaks: silero-vad, from the model file in its wheel.

The package itself is not imported: that sets the threads of PyTorch for the whole process.
"""

from __future__ import annotations

import importlib.util
import warnings
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.errors import UserError
from agent.stages import stage

WINDOW = 512
"""Samples that are judged at once: 32 ms."""
WINDOW_S = WINDOW / SAMPLE_RATE_HZ
ONSET = 0.5
"""Speech starts where its probability reaches this..."""
OFFSET = 0.35
"""...and ends where it falls below this. Both are the package's own values."""
MIN_RUN = 3
"""Fewer windows of speech in a row are a click."""

_POOL: deque[Any] = deque()
"""Loaded models that no stream is using: a model holds the state of its stream."""


class VoiceDetector:
    """Fed with the audio of one stream; tells how much speech there was and when it last was heard."""

    def __init__(self) -> None:
        try:
            self._model = _POOL.pop()
        except IndexError:
            self._model = _load()
        weakref.finalize(self, _POOL.append, self._model).atexit = False
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._model.reset_states()
        self._rest = np.zeros(0, np.float32)
        self._n_windows = 0
        self._run = 0
        self._speech: deque[int] = deque()

    @stage("vad")
    def hear(self, samples: Samples) -> None:
        """``samples`` further, float32 mono 16 kHz. Judged in windows of 32 ms; a rest waits for the next call."""
        audio = np.concatenate([self._rest, samples])
        whole = len(audio) - len(audio) % WINDOW
        self._rest = audio[whole:]
        with torch.inference_mode():
            for start in range(0, whole, WINDOW):
                window = torch.from_numpy(audio[start : start + WINDOW])
                self._judge(float(self._model(window, SAMPLE_RATE_HZ)))

    def _judge(self, probability: float) -> None:
        speaks = probability >= (OFFSET if self._run else ONSET)
        self._run = self._run + 1 if speaks else 0
        if self._run == MIN_RUN:
            self._speech.extend(range(self._n_windows - MIN_RUN + 1, self._n_windows + 1))
        elif self._run > MIN_RUN:
            self._speech.append(self._n_windows)
        self._n_windows += 1

    def forget_before(self, time_s: float) -> None:
        """Nobody will ask about what was heard before ``time_s`` any more."""
        while self._speech and (self._speech[0] + 1) * WINDOW_S <= time_s:
            self._speech.popleft()

    def speech_s(self, from_s: float) -> float:
        """Seconds of speech since ``from_s``, in whole windows."""
        return WINDOW_S * sum(number * WINDOW_S >= from_s for number in self._speech)

    def first_s(self, from_s: float) -> float | None:
        """When somebody first spoke after ``from_s``."""
        return next((number * WINDOW_S for number in self._speech if number * WINDOW_S >= from_s), None)

    @property
    def last_s(self) -> float:
        """When the last speech ended; 0 if there was none."""
        return (self._speech[-1] + 1) * WINDOW_S if self._speech else 0.0


def _load() -> Any:
    """A model of its own for one stream; UserError where silero-vad is not installed. Run once, as its first runs
    compile it."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        raise UserError("silero-vad, which recognisers with an aligner need, is not installed: make setup.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit; the wheel's other files need other packages
        load: Any = torch.jit.load
        model = load(str(Path(found.origin).parent / "data" / "silero_vad.jit"))
    model.eval()
    with torch.inference_mode():
        for _ in range(3):
            model(torch.zeros(WINDOW), SAMPLE_RATE_HZ)
    return model
