"""Voxtral Realtime on vLLM: one engine, which batches the requests of all streams and starts with the first of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.engine import Generated
from agent.asr.qwen3.vllm import EngineLimits
from agent.asr.voxtral.checkpoint import TOKEN_SAMPLES, Checkpoint
from agent.vllm_engine.arguments import common_arguments
from agent.vllm_engine.speech import CPU_CACHE_GIB, MAX_NUM_SEQS, SpeechEngine

INSTEAD = "asr.recogniser=qwen3"
SPARE_TOKENS = 8
"""Beside prompt, audio and padding: the last new token, and what a clip lies off the grid of tokens."""


def engine_arguments(checkpoint: Checkpoint, limits: EngineLimits) -> dict[str, Any]:
    """Keyword arguments of ``AsyncEngineArgs``."""
    on_gpu = torch.cuda.is_available()
    dtype = "bfloat16" if on_gpu else "float32"
    name, revision, share = checkpoint.name, checkpoint.revision, limits.gpu_share
    n_audio = math.ceil(limits.max_live_s * SAMPLE_RATE_HZ / TOKEN_SAMPLES)
    arguments = {
        **common_arguments(name, revision, dtype, share, limits.cache_gib, CPU_CACHE_GIB, on_gpu),
        "tokenizer_mode": "mistral",
        "config_format": "mistral",
        "load_format": "mistral",
        "limit_mm_per_prompt": {"audio": 1},
        "mm_processor_cache_gb": 0,
        "enable_prefix_caching": False,  # the tail is one audio item, which is another one whenever it grows
        "max_model_len": len(checkpoint.prompt) + n_audio + checkpoint.n_right_pad + SPARE_TOKENS,
        "max_num_seqs": MAX_NUM_SEQS,
        "enforce_eager": not on_gpu,
    }
    if checkpoint.tokenizer_folder:
        arguments["tokenizer"] = checkpoint.tokenizer_folder
    return arguments


class VllmGenerator:
    """A `Generator`."""

    def __init__(self, checkpoint: Checkpoint, limits: EngineLimits) -> None:
        self.engine = SpeechEngine("recogniser", engine_arguments(checkpoint, limits), limits.timeout_s, INSTEAD)
        self.n_written = 0
        """Tokens that were decoded, over all requests."""

    def generate(self, ids: Sequence[int], audio: Samples, n_new: int) -> Generated:
        """Greedy continuation of ``ids`` by ``n_new`` tokens."""
        if len(ids) + n_new > self.engine.max_tokens:
            raise ValueError(f"{len(ids) + n_new} tokens are more than the {self.engine.max_tokens} of the engine")
        answer = self.engine.run(lambda engine, key: self._generate(engine, key, ids, audio, n_new)).outputs[0]
        self.n_written += n_new
        tokens = tuple(answer.token_ids)
        return Generated(
            tokens, tuple(step[token].logprob for token, step in zip(tokens, answer.logprobs, strict=True))
        )

    async def _generate(self, engine: Any, key: str, ids: Sequence[int], audio: Samples, n_new: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=n_new,
            ignore_eos=True,  # it writes as long as there is audio
            detokenize=False,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": list(ids), "multi_modal_data": {"audio": (audio, None)}}
        (output,) = [done async for done in engine.generate(prompt, sampling, request_id=key)]
        return output
