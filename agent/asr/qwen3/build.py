"""From keys to what runs: Qwen3-ASR and the forced aligner, loaded and run once, so that the first chunk costs what
others do."""

from __future__ import annotations

import numpy as np

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.qwen3.checkpoint import open_checkpoint
from agent.asr.qwen3.config import AlignerConfig, Qwen3Config
from agent.asr.qwen3.engine import Aligner, Classifier, Generator, Transcriber, Transcription
from agent.asr.qwen3.prompt import language_name
from agent.asr.qwen3.words import split_words
from agent.vllm_engine.arguments import require_vllm


def build_transcriber(config: Qwen3Config, source_lang: str) -> Transcriber:
    """The recogniser. UserError when its model is absent, of the wrong kind or layout, or vLLM is not installed."""
    language, on_vllm = language_name(source_lang), config.backend == "vllm"
    if on_vllm:
        require_vllm("asr.backend=vllm", "asr.backend=transformers")
    checkpoint = open_checkpoint(config.model, config.revision, "recogniser", native_only=not on_vllm)
    generator: Generator
    if on_vllm:
        from agent.asr.qwen3.vllm import EngineLimits, VllmGenerator

        limits = EngineLimits(config.max_live_s, config.gpu_share, config.cache_gib, config.timeout_s)
        generator = VllmGenerator(checkpoint, limits)
    else:
        from agent.asr.qwen3.transformers import TransformersGenerator

        generator = TransformersGenerator(checkpoint, config.timeout_s)
    transcriber = Transcriber(generator, checkpoint, language, config.context)
    transcriber.transcribe(np.zeros(SAMPLE_RATE_HZ, np.float32))
    return transcriber


def build_aligner(config: AlignerConfig, max_live_s: float, timeout_s: float) -> Aligner:
    """What gives word times. UserError as above. ``max_live_s``: longest audio; ``timeout_s``: of a request."""
    on_vllm = config.backend == "vllm"
    if on_vllm:
        require_vllm("asr.aligner.backend=vllm", "asr.aligner.backend=transformers")
    checkpoint = open_checkpoint(config.model, config.revision, "aligner", native_only=not on_vllm)
    classifier: Classifier
    if on_vllm:
        from agent.asr.qwen3.vllm import EngineLimits, VllmClassifier

        limits = EngineLimits(max_live_s, config.gpu_share, config.cache_gib, timeout_s)
        classifier = VllmClassifier(checkpoint, limits)
    else:
        from agent.asr.qwen3.transformers import TransformersClassifier

        classifier = TransformersClassifier(checkpoint)
    aligner = Aligner(classifier, checkpoint)
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    aligner.align(silence, Transcription(split_words("two words"), (None, None), "two words"))
    return aligner
