"""Audio as the speech encoder reads it: log-mel features, cut where the encoder's attention is cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.asr.contract import SAMPLE_RATE_HZ, Samples

N_MELS = 128
FRAMES_PER_S = 100
WINDOW_FRAMES = 800
"""The encoder never attends across multiples of 8 s: a finished window's output does not change any more."""
BLOCK_FRAMES = 100
"""The encoder's convolutions see 1 s at a time."""
TOKENS_PER_BLOCK = 13
MIN_AUDIO_S = 1.0
"""Shorter audio is filled up with silence."""
MAX_AUDIO_S = 300.0
"""The longest audio that the aligner's times reach with certainty."""

Mel = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioInput:
    """One clip for the encoder. ``pieces``: float32 [128 mel bands, frames of 10 ms], in order; together the clip."""

    pieces: tuple[Mel, ...]
    duration_s: float

    @property
    def n_tokens(self) -> tuple[int, ...]:
        """How many tokens each piece becomes."""
        return tuple(n_audio_tokens(piece.shape[1]) for piece in self.pieces)


def n_audio_tokens(n_frames: int) -> int:
    """Tokens that the encoder makes of so many frames: three convolutions of stride 2 in each second."""
    blocks, rest = divmod(n_frames, BLOCK_FRAMES)
    for _ in range(3):
        rest = (rest + 1) // 2
    return blocks * TOKENS_PER_BLOCK + rest


def prepare(samples: Samples, by_window: bool = True) -> AudioInput:
    """Features of float32 mono 16 kHz audio; ValueError when it is not finite and 1-D, or is too long.

    The features are those of the whole clip. ``by_window`` cuts them at the encoder's windows, so that an engine can
    keep what it made of the finished ones; the encoder's output is the same. Samples beyond [-1, 1] are clipped.
    """
    checked = check(samples)
    duration_s = len(checked) / SAMPLE_RATE_HZ
    if duration_s > MAX_AUDIO_S:
        raise ValueError(f"{duration_s:.1f} s of audio are more than {MAX_AUDIO_S:.0f} s")
    padding = max(0, int(MIN_AUDIO_S * SAMPLE_RATE_HZ) - len(checked))
    mel = _log_mel(np.pad(checked, (0, padding)))
    # A rest below a second stays with the window before it: the libraries differ on clips that short.
    last = (mel.shape[1] - BLOCK_FRAMES) // WINDOW_FRAMES * WINDOW_FRAMES if by_window else 0
    cuts = [*range(0, last + 1, WINDOW_FRAMES), mel.shape[1]]
    pieces = tuple(mel[:, start:end] for start, end in pairwise(cuts))
    return AudioInput(pieces, duration_s)


def check(samples: Samples) -> Samples:
    """``samples`` clipped to [-1, 1]; ValueError when they are not one channel of finite numbers."""
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise ValueError(f"samples must be one channel of finite numbers, not shape {samples.shape}")
    return np.clip(np.asarray(samples, np.float32), -1.0, 1.0)


def _log_mel(samples: Samples) -> Mel:
    features = _extractor()(samples, sampling_rate=SAMPLE_RATE_HZ, padding=True, n_window=0, return_tensors="np")
    mel = np.asarray(features["input_features"][0], np.float32)
    return np.ascontiguousarray(mel[:, : len(samples) * FRAMES_PER_S // SAMPLE_RATE_HZ])


@cache
def _extractor() -> Any:
    from transformers import Qwen3ASRFeatureExtractor

    return Qwen3ASRFeatureExtractor()
