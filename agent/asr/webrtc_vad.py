"""Where speech starts and pauses: block by block, from loudness over the noise floor and WebRTC's voice detector."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
from pocketsphinx import Vad

from agent.asr.contract import SAMPLE_RATE_HZ

BLOCK = 320
"""Samples in a block: 20 ms."""
BLOCK_S = BLOCK / SAMPLE_RATE_HZ
_VAD_MODE = 2
"""WebRTC aggressiveness, 0 to 3. Looser modes pass stationary noise, the strictest one drops quiet consonants."""
_ABOVE_FLOOR_DB = 9.0
"""Speech is at least so much louder than the noise floor."""
_QUIETEST_FLOOR_DB = -62.0
"""The floor never sinks below this (dB full scale), nor lies above it before `_WARM_UP_BLOCKS`."""
_WARM_UP_BLOCKS = 50
_FLOOR_BLOCKS = 200
"""The floor is the quietest block of the last 4 s: running speech always has a stop closure in so much time."""
_ONSET_BLOCKS = 3
"""Speech starts, or resumes after a pause, with this many speech blocks in a row; fewer are a click."""


class SpeechDetector:
    """Fed with successive blocks; tells whether speech is on and how long the current pause has lasted."""

    def __init__(self) -> None:
        self._vad = Vad(mode=_VAD_MODE, sample_rate=SAMPLE_RATE_HZ, frame_length=BLOCK_S)
        self._levels: deque[float] = deque(maxlen=_FLOOR_BLOCKS)
        self._warm_up = _WARM_UP_BLOCKS
        self._run = 0
        self.silent_blocks = 0
        """Blocks since speech last was on, 0 while it is."""
        self.is_speech = False
        """Whether the block heard last sounds like speech, even if only for a click's length."""
        self.level_db = _QUIETEST_FLOOR_DB
        """Loudness of the block heard last, dB full scale."""

    def hear(self, block: npt.NDArray[np.int16]) -> None:
        """``block``: `BLOCK` samples."""
        power = float(np.mean(np.square(block.astype(np.float64) / 32768.0)))
        self.level_db = 10.0 * float(np.log10(power + 1e-10))
        self._levels.append(self.level_db)
        self._warm_up -= 1
        floor_db = _QUIETEST_FLOOR_DB if self._warm_up > 0 else max(_QUIETEST_FLOOR_DB, min(self._levels))
        voiced = bool(self._vad.is_speech(block.tobytes()))
        self.is_speech = voiced and self.level_db > floor_db + _ABOVE_FLOOR_DB
        self._run = self._run + 1 if self.is_speech else 0
        if self._run >= _ONSET_BLOCKS:
            self.silent_blocks = 0
        else:
            self.silent_blocks += 1

    @property
    def onset(self) -> bool:
        """Speech is on."""
        return self.silent_blocks == 0
