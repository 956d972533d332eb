"""The recogniser and the aligner on vLLM: two engines, each of which batches the requests of all streams.

Finished 8 s windows of a growing tail are audio items of their own, so that the recogniser's prefix cache holds what
was made of them. vLLM is imported when the first request comes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from agent.asr.qwen3.audio import FRAMES_PER_S, WINDOW_FRAMES, AudioInput
from agent.asr.qwen3.checkpoint import BACKENDS, Checkpoint
from agent.asr.qwen3.engine import Generated
from agent.errors import UserError
from agent.vllm_engine.arguments import common_arguments
from agent.vllm_engine.speech import CPU_CACHE_GIB, MAX_NUM_SEQS, SpeechEngine

MAX_CONTEXT_TOKENS = 1024
"""Room for the words to expect and the turns around them."""
TOKENS_PER_S = 128
"""Room for a second: 13 tokens of audio, at most 12 of text, each of them perhaps a unit with two time markers."""
END_TOKENS = ("<|im_end|>", "<|endoftext|>")
ALIGNER_CLASS = "Qwen3ASRForcedAlignerForTokenClassification"


@dataclass(frozen=True)
class EngineLimits:
    """What an engine gets. ``max_live_s``: the longest audio of a request; ``gpu_share``: of a GPU's memory;
    ``cache_gib``: of it or of main memory for the KV cache, 0 for what the share leaves (on a CPU 0.5);
    ``timeout_s``: an engine that is silent for longer hangs."""

    max_live_s: float = 28.0
    gpu_share: float = 0.2
    cache_gib: float = 0.0
    timeout_s: float = 60.0

    @property
    def max_tokens(self) -> int:
        """Longest request with its answer, in tokens."""
        return MAX_CONTEXT_TOKENS + TOKENS_PER_S * math.ceil(self.max_live_s)


def engine_arguments(checkpoint: Checkpoint, limits: EngineLimits) -> dict[str, Any]:
    """Keyword arguments of ``AsyncEngineArgs``, for either layout of either model."""
    on_gpu = torch.cuda.is_available()
    dtype = "bfloat16" if on_gpu else "float32"
    name, revision, share = checkpoint.name, checkpoint.revision, limits.gpu_share
    arguments = {
        **common_arguments(name, revision, dtype, share, limits.cache_gib, CPU_CACHE_GIB, on_gpu),
        "enable_mm_embeds": True,  # features that we computed, not audio
        "limit_mm_per_prompt": {"audio": 1 + int(limits.max_live_s * FRAMES_PER_S // WINDOW_FRAMES)},
        "mm_processor_cache_gb": 0,
        "max_model_len": limits.max_tokens,
        "max_num_seqs": MAX_NUM_SEQS,
        "enforce_eager": not on_gpu,
    }
    if checkpoint.kind == "recogniser":
        return arguments | {"enable_prefix_caching": True}
    pooling = {"tok_pooling_type": "STEP", "step_tag_id": checkpoint.time_marker_id, "use_activation": False}
    layout = {"convert": "classify"} if checkpoint.native else {"hf_overrides": {"architectures": [ALIGNER_CLASS]}}
    return arguments | layout | {"runner": "pooling", "pooler_config": pooling}


def _engine(checkpoint: Checkpoint, limits: EngineLimits) -> SpeechEngine:
    return SpeechEngine(
        checkpoint.kind,
        engine_arguments(checkpoint, limits),
        limits.timeout_s,
        f"{BACKENDS[checkpoint.kind]}=transformers",
    )


def _check_fits(engine: SpeechEngine, n_tokens: int) -> None:
    """UserError when a request of so many tokens does not fit."""
    if n_tokens > engine.max_tokens:
        raise UserError(
            f"A request of {n_tokens} tokens does not fit the {engine.max_tokens} of the {engine.thread.name}; "
            "give fewer words in asr.context."
        )


class VllmGenerator:
    """A `Generator`."""

    def __init__(self, checkpoint: Checkpoint, limits: EngineLimits) -> None:
        self.engine = _engine(checkpoint, limits)
        self._end_ids = frozenset(checkpoint.tokenizer.convert_tokens_to_ids(token) for token in END_TOKENS)
        self.n_prompt_tokens = self.n_cached_tokens = 0
        """Prompt tokens of all requests so far, and those among them that the prefix cache held."""

    def generate(self, ids: Sequence[int], audio: AudioInput, max_new_tokens: int) -> Generated:
        """Greedy continuation of ``ids``."""
        n_prompt = len(ids) - len(audio.pieces) + sum(audio.n_tokens)
        _check_fits(self.engine, n_prompt + max_new_tokens)
        output = self.engine.run(lambda engine, key: self._generate(engine, key, ids, audio, max_new_tokens))
        self.n_prompt_tokens += len(output.prompt_token_ids)
        self.n_cached_tokens += output.num_cached_tokens or 0
        (answer,) = output.outputs
        tokens = [token for token in answer.token_ids if token not in self._end_ids]
        return Generated(
            tuple(tokens),
            tuple(step[token].logprob for token, step in zip(tokens, answer.logprobs, strict=False)),
        )

    async def _generate(self, engine: Any, key: str, ids: Sequence[int], audio: AudioInput, n_new: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=n_new,
            stop_token_ids=sorted(self._end_ids),
            ignore_eos=True,
            detokenize=False,
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        (output,) = [done async for done in engine.generate(_request(ids, audio), sampling, request_id=key)]
        return output


class VllmClassifier:
    """A `Classifier`."""

    def __init__(self, checkpoint: Checkpoint, limits: EngineLimits) -> None:
        self.engine = _engine(checkpoint, limits)

    def classify(self, ids: Sequence[int], audio: AudioInput) -> list[int]:
        """The likeliest class at each time marker of ``ids``."""
        _check_fits(self.engine, len(ids) - len(audio.pieces) + sum(audio.n_tokens))
        logits = self.engine.run(lambda engine, key: self._classify(engine, key, ids, audio))
        return [int(number) for number in logits.argmax(-1)]

    async def _classify(self, engine: Any, key: str, ids: Sequence[int], audio: AudioInput) -> torch.Tensor:
        from vllm import PoolingParams

        pooling = PoolingParams(task="token_classify", use_activation=False)
        (output,) = [done async for done in engine.encode(_request(ids, audio), pooling, request_id=key)]
        logits: torch.Tensor = output.outputs.data
        return logits


def _request(ids: Sequence[int], audio: AudioInput) -> dict[str, Any]:
    """A prompt with one audio item for each piece."""
    pieces = [torch.from_numpy(piece) for piece in audio.pieces]
    lengths = torch.tensor([piece.shape[1] for piece in pieces])
    features = {
        "input_audio_features": torch.cat(pieces, dim=1),
        "audio_feature_lengths": lengths,
        "feature_attention_mask": (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long(),
    }
    return {"prompt_token_ids": list(ids), "multi_modal_data": {"audio": features}}
