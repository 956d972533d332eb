"""From keys to what runs: Voxtral Realtime, loaded and run once, so that the first chunk costs what others do."""

from __future__ import annotations

import numpy as np

from agent.asr.contract import SAMPLE_RATE_HZ
from agent.asr.qwen3.prompt import language_name
from agent.asr.qwen3.vllm import EngineLimits
from agent.asr.voxtral.checkpoint import open_checkpoint
from agent.asr.voxtral.config import VoxtralConfig
from agent.asr.voxtral.transcriber import Transcriber
from agent.asr.voxtral.vllm import VllmGenerator
from agent.vllm_engine.arguments import require_vllm


def build_transcriber(config: VoxtralConfig, source_lang: str) -> Transcriber:
    """The recogniser. UserError when its model is absent, of the wrong kind or layout, or vLLM is not installed."""
    language_name(source_lang)  # one that there are word times for
    require_vllm("asr.recogniser=voxtral", "asr.recogniser=qwen3")
    checkpoint = open_checkpoint(config.model, config.revision, config.delay_ms)
    limits = EngineLimits(config.max_live_s, config.gpu_share, config.cache_gib, config.timeout_s)
    transcriber = Transcriber(VllmGenerator(checkpoint, limits), checkpoint)
    transcriber.transcribe(np.zeros(SAMPLE_RATE_HZ, np.float32), is_over=True)
    return transcriber
