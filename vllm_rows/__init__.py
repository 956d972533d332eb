"""Attention rows of chosen heads from vLLM, for any decoder-only model, beside the tokens and without changing them.

Usable alone: nothing here imports the rest of the project, and vLLM is imported only inside an engine's processes.

    llm = LLM(model, **engine_options([(5, 0), (11, 3)], max_num_seqs=8, max_rows=17))
    sampling = SamplingParams(temperature=0, max_tokens=16, extra_args=sampling_args("a", (10, 40), 16))
    llm.generate({"prompt_token_ids": ids}, sampling)
    rows = merge(llm.collective_rpc("fetch_rows", args=("a",))).rows  # [heads, 16, 30]

How it works, and what it refuses: docs/capture.md.
"""

from vllm_rows.errors import CaptureError, CaptureMismatchError, UnsupportedModelError
from vllm_rows.options import StopRule, engine_options, sampling_args
from vllm_rows.rows import CapturedRows, merge
from vllm_rows.self_test import SelfTestReport, self_test, self_test_async, transformers_reference

__all__ = [
    "CaptureError",
    "CaptureMismatchError",
    "CapturedRows",
    "SelfTestReport",
    "StopRule",
    "UnsupportedModelError",
    "engine_options",
    "merge",
    "sampling_args",
    "self_test",
    "self_test_async",
    "transformers_reference",
]
