"""The ``voxtral`` recogniser: Voxtral Realtime on vLLM, with word times from Qwen3-ForcedAligner.

docs/asr.md says how to choose and set it up. Its models are loaded once per process, however many streams there are.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.qwen3 import build_aligner
from agent.asr.qwen3.engine import Aligner
from agent.asr.qwen3.prompt import language_name
from agent.asr.silero_vad import VoiceDetector
from agent.asr.streaming import StreamingRecognizer
from agent.asr.voxtral.checkpoint import RELEASED, open_checkpoint
from agent.asr.voxtral.transcriber import Transcriber
from agent.config import AgentConfig, AsrConfig
from agent.errors import UserError
from agent.run.missing import has_vllm

__all__ = ["build_voxtral"]

_loaded: dict[AsrConfig, tuple[Transcriber, Aligner]] = {}
_lock = threading.Lock()


def build_voxtral(config: AgentConfig) -> StreamingRecognizer:
    """A recogniser for one stream. UserError when a model is absent, of the wrong kind, or in the wrong layout, or when
    vLLM is not installed."""
    language_name(config.source_lang)  # one that there are word times for
    asr = config.asr
    if asr.model == AsrConfig().model:
        raise UserError(f"asr.engine=voxtral needs its model: set asr.model, e.g. {RELEASED}.")
    if not has_vllm():
        raise UserError(
            "asr.engine=voxtral needs vLLM: pip install 'alignatt-agent[gpu]' or '[cpu]' (or: make vllm), "
            "or use asr.engine=qwen3."
        )
    # Streams that differ in nothing that the models know of share them.
    key = replace(asr, hypotheses_to_agree=0, sentence_pause_s=0.0)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(asr)
        transcriber, aligner = _loaded[key]
    return StreamingRecognizer(transcriber, aligner, VoiceDetector(), asr.max_live_s, asr.hypotheses_to_agree)


def _load(asr: AsrConfig) -> tuple[Transcriber, Aligner]:
    from agent.asr.qwen3.vllm import Room
    from agent.asr.voxtral.vllm import VllmGenerator

    ours = asr.qwen3
    checkpoint = open_checkpoint(asr.model, ours.revision, asr.voxtral.delay_ms)
    aligner = build_aligner(asr)
    room = Room(asr.max_live_s, ours.gpu_share, ours.cache_gib, ours.timeout_s)
    transcriber = Transcriber(VllmGenerator(checkpoint, room), checkpoint)
    # Run once, so that the first chunk costs what others do.
    transcriber.transcribe(np.zeros(SAMPLE_RATE_HZ, np.float32), is_over=True)
    return transcriber, aligner
