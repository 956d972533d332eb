"""What the tests of Qwen3-ASR say and hear."""

from __future__ import annotations

import numpy as np

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.audio import prepare
from agent.asr.qwen3.checkpoint import Checkpoint

TEXTS = {
    "en": "Hello, world! It's 3.14 o'clock — isn't it? A state-of-the-art “model” (2026) … yes—no, e.g. 50%.",
    "de": "Guten Tag, die Damen und Herren: 1.000 Fälle, U-Bahn-Netz – größer als gedacht!",
    "it": "L'insegnante non c'è; perché? Costa 12,50 euro, l’altra un po' di più.",
    "zh": "甚至AI也会说 hello，对吗？《语言》模型 GPT-4，增长3.5%。 — 好",
}


def chirp(seconds: float, seed: int = 0) -> Samples:
    """A sweeping tone in noise, the same for the same seed."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * (200 + 150 * time_s) * time_s) * (0.5 + 0.5 * np.sin(11 * time_s))
    return (tone + 0.05 * np.random.default_rng(seed).standard_normal(len(time_s))).astype(np.float32)


def expanded(checkpoint: Checkpoint, prompt: str, samples: Samples) -> list[int]:
    """Token ids of a prompt with each audio pad repeated, as the models read it."""
    lengths = iter(prepare(samples).n_tokens)
    ids = checkpoint.encode(prompt)
    return [i for token in ids for i in [token] * (next(lengths) if token == checkpoint.audio_pad_id else 1)]
