"""Audio of a talk, small enough to live inside a page: 32 kbit/s MP3, which every browser plays."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np

from agent.run.talks import decode

BIT_RATE = 32_000
SAMPLE_RATE_HZ = 16_000


def mp3(path: Path) -> bytes:
    """The file as mono MP3; UserError when it cannot be decoded."""
    samples = decode(path)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE_HZ)
        stream.bit_rate = BIT_RATE
        stream.layout = "mono"
        for start in range(0, len(samples), SAMPLE_RATE_HZ):
            part = np.ascontiguousarray(samples[None, start : start + SAMPLE_RATE_HZ]).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
