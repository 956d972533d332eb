"""The ``qwen3`` recogniser: Qwen3-ASR with its forced aligner, live. docs/asr.md says how to choose and set it up.

Its models are loaded once per process, however many streams there are.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.qwen3.checkpoint import RELEASED, Checkpoint, open_checkpoint
from agent.asr.qwen3.engine import Aligner, Classifier, Generator, Transcriber, Transcription
from agent.asr.qwen3.prompt import language_name
from agent.asr.qwen3.words import split_words
from agent.asr.silero_vad import VoiceDetector
from agent.asr.streaming import StreamingRecognizer
from agent.config import AgentConfig, AsrConfig
from agent.errors import UserError
from agent.run.missing import has_vllm

__all__ = ["build_aligner", "build_qwen3"]

_loaded: dict[tuple[AsrConfig, str], tuple[Transcriber, Aligner]] = {}
_lock = threading.Lock()


def build_qwen3(config: AgentConfig) -> StreamingRecognizer:
    """A recogniser for one stream. UserError when a model is absent, of the wrong kind, or in the wrong layout, or when
    its engine is not installed."""
    language = language_name(config.source_lang)
    asr = config.asr
    if asr.model == AsrConfig().model:
        raise UserError(f"asr.engine=qwen3 needs its model: set asr.model, e.g. {RELEASED['recogniser']}.")
    # Streams that differ in nothing that the models know of share them.
    key = (replace(asr, hypotheses_to_agree=0, sentence_pause_s=0.0), language)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load(asr, language)
        transcriber, aligner = _loaded[key]
    return StreamingRecognizer(transcriber, aligner, VoiceDetector(), asr.max_live_s, asr.hypotheses_to_agree)


def _load(asr: AsrConfig, language: str) -> tuple[Transcriber, Aligner]:
    ours = asr.qwen3
    native_only = ours.engine == "hf"
    if not native_only and not has_vllm():
        raise UserError(
            "asr.qwen3.engine=vllm needs vLLM: pip install 'alignatt-agent[gpu]' or '[cpu]' (or: make vllm), "
            "or use asr.qwen3.engine=hf."
        )
    recogniser = open_checkpoint(asr.model, ours.revision, "recogniser", native_only)
    times = build_aligner(asr)
    generator = _generator(asr, recogniser)
    transcriber = Transcriber(generator, recogniser, language, ours.context)
    # Run once, so that the first chunk costs what others do.
    transcriber.transcribe(np.zeros(SAMPLE_RATE_HZ, np.float32))
    return transcriber, times


def build_aligner(asr: AsrConfig) -> Aligner:
    """What gives word times, for recognisers that tell none. It has been run once."""
    ours = asr.qwen3
    checkpoint = open_checkpoint(ours.aligner, ours.aligner_revision, "aligner", ours.engine == "hf")
    aligner = Aligner(_classifier(asr, checkpoint), checkpoint)
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    aligner.align(silence, Transcription(split_words("two words"), (None, None), "two words"))
    return aligner


def _generator(asr: AsrConfig, recogniser: Checkpoint) -> Generator:
    ours = asr.qwen3
    if ours.engine == "hf":
        from agent.asr.qwen3.hf import HFGenerator

        return HFGenerator(recogniser, ours.timeout_s)
    from agent.asr.qwen3.vllm import Room, VllmGenerator

    return VllmGenerator(recogniser, Room(asr.max_live_s, ours.gpu_share, ours.cache_gib, ours.timeout_s))


def _classifier(asr: AsrConfig, aligner: Checkpoint) -> Classifier:
    ours = asr.qwen3
    if ours.engine == "hf":
        from agent.asr.qwen3.hf import HFClassifier

        return HFClassifier(aligner)
    from agent.asr.qwen3.vllm import Room, VllmClassifier

    room = Room(asr.max_live_s, ours.aligner_gpu_share, ours.aligner_cache_gib, ours.timeout_s)
    return VllmClassifier(aligner, room)
