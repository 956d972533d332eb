"""Attention rows of chosen heads from vLLM, for any decoder-only model, beside the tokens and without changing them.

A distribution of its own, alignatt-vllm-rows: it needs vLLM and numpy. Importing it imports neither vLLM nor torch.

    llm = LLM(model, **engine_options([(5, 0), (11, 3)], max_num_seqs=8, max_rows=17))
    sampling = SamplingParams(temperature=0, max_tokens=16, extra_args=sampling_args("a", (10, 40), 16))
    llm.generate({"prompt_token_ids": ids}, sampling)
    rows = merge(llm.collective_rpc("fetch_rows", args=("a",))).rows  # [heads, 16, 30]

How it works, and what it refuses: README.md.
"""

from vllm_rows.errors import CaptureError, CaptureMismatchError, UnsupportedModelError
from vllm_rows.options import StopRule, engine_options, sampling_args
from vllm_rows.rows import CapturedRows, merge
from vllm_rows.self_test import Reference, SelfTestReport, self_test, self_test_async, transformers_reference
from vllm_rows.vllm_internals import VERIFIED, vllm_version

__all__ = [
    "VERIFIED",
    "CaptureError",
    "CaptureMismatchError",
    "CapturedRows",
    "Reference",
    "SelfTestReport",
    "StopRule",
    "UnsupportedModelError",
    "engine_options",
    "merge",
    "sampling_args",
    "self_test",
    "self_test_async",
    "transformers_reference",
    "vllm_version",
]
