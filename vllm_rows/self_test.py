"""Does this engine return true rows? To be run when it has started, before it serves.

Two independent checks on prompts that outgrow every sliding window, once with a cold and once with a warm prefix cache:

- kernel: rows times the cached values must give what vLLM's own attention kernel put out. It needs nothing else, holds
  in every number type, and sees wrong masks, keys, blocks, scales and KV heads.
- reference: rows and tokens must be those of a model computed without vLLM. It also sees a wrong choice of layer or
  query head; float32 engines only, as two correct bfloat16 models differ by more than any useful tolerance.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vllm_rows.errors import CaptureError, CaptureMismatchError
from vllm_rows.options import CONFIG_KEY, sampling_args
from vllm_rows.rows import CapturedRows, merge

Reference = Callable[[Sequence[int], Sequence[tuple[int, int]]], npt.NDArray[np.float32]]
"""(token ids, heads) → float32 ``[heads, tokens, tokens]``: the rows of every position, computed without vLLM."""

ROW_TOLERANCE = 2e-5
"""Largest difference of a weight from the reference, float32."""

KERNEL_TOLERANCE = {"float32": 2e-5, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Largest difference of row·V from the kernel's output, as a share of row·|V|: one unit in the last place."""

_PASSES = ("cold", "warm")
_N_PROMPTS = 2


@dataclass(frozen=True)
class SelfTestReport:
    """What was compared and the largest differences: of row·V as a share of row·|V|, of rows (None: no reference)."""

    n_rows: int
    n_heads: int
    dtype: str
    kernel_difference: float
    row_difference: float | None


@dataclass(frozen=True)
class SelfTest:
    """The prompts of a self-test and the judgement of what comes back."""

    heads: tuple[tuple[int, int], ...]
    prompts: tuple[tuple[int, ...], ...]
    n_tokens: int
    dtype: str

    @classmethod
    def plan(cls, ranks: Sequence[dict[str, Any]], n_prompts: int = _N_PROMPTS) -> SelfTest:
        """``ranks``: what ``collective_rpc("describe_capture")`` returned. Prompts are fixed pseudo-random ids."""
        first = ranks[0]
        layers = [layer for rank in ranks for layer in rank["layers"]]
        n_tokens = min(8, first["max_rows"])
        length = max((layer["window"] or 0) + 2 * layer["block_size"] for layer in layers) + 5
        length = max(2, min(length, first["max_model_len"] - n_tokens))
        random = np.random.default_rng(2026)
        vocabulary = first["vocabulary"]
        shared = random.integers(vocabulary // 4, vocabulary // 2, length).tolist()
        prompts = []
        for number in range(n_prompts):
            changed = random.integers(vocabulary // 4, vocabulary // 2, length // 2).tolist()
            prompts.append(tuple(shared if number == 0 else shared[: length - len(changed)] + changed))
        heads = tuple((layer, head) for layer, head in first["heads"])
        return cls(heads, tuple(prompts), n_tokens, first["dtype"])

    def sampling(self, key: str, ids: Sequence[int]) -> dict[str, Any]:
        """Keyword arguments of ``SamplingParams`` for one prompt."""
        extra = sampling_args(key, (0, len(ids)), self.n_tokens)
        extra[CONFIG_KEY]["check"] = True
        return {"temperature": 0.0, "max_tokens": self.n_tokens, "ignore_eos": True, "extra_args": extra}

    def judge(
        self,
        drafts: Sequence[tuple[Sequence[int], Sequence[int], Sequence[dict[str, Any] | None]]],
        reference: Reference | None = None,
    ) -> SelfTestReport:
        """``drafts``: (prompt ids, drafted ids, what ``fetch_rows`` returned). CaptureMismatchError names the worst."""
        kernel, difference, n_rows = 0.0, None, 0
        for ids, tokens, parts in drafts:
            rows = merge(parts)
            if rows is None or rows.rows.shape[1] < self.n_tokens:
                raise CaptureMismatchError("Self-test: rows of a finished request are missing.")
            kernel = max(kernel, self._judge_kernel(parts))
            n_rows += self.n_tokens
            if reference is not None and self.dtype == "float32":
                found = self._judge_rows(ids, tokens, rows, reference)
                difference = found if difference is None else max(difference, found)
        return SelfTestReport(n_rows, len(self.heads), self.dtype, kernel, difference)

    def _judge_kernel(self, parts: Sequence[dict[str, Any] | None]) -> float:
        deviations = [deviation for part in parts if part is not None for deviation in part["deviations"]]
        seen = {deviation["layer"] for deviation in deviations}
        if missing := sorted({layer for layer, _ in self.heads} - seen):
            raise CaptureMismatchError(f"Self-test: the kernel's output of layer(s) {missing} was not recorded.")
        worst = max(deviations, key=lambda deviation: deviation["relative"])
        tolerance = KERNEL_TOLERANCE.get(self.dtype)
        if tolerance is None:
            raise CaptureError(f"Self-test: no tolerance is known for {self.dtype}.")
        if not worst["relative"] <= tolerance:
            layer, head = self.heads[worst["order"]]
            raise CaptureMismatchError(
                f"Self-test: layer {layer} head {head}, position {worst['position']}, dimension {worst['dimension']}: "
                f"the row times the values is {worst['replayed']:.7g}, the kernel put out {worst['kernel']:.7g} "
                f"({worst['relative']:.2g} of the row's scale, allowed {tolerance:.2g}). Rows cannot be trusted."
            )
        return float(worst["relative"])

    def _judge_rows(
        self, ids: Sequence[int], tokens: Sequence[int], captured: CapturedRows, reference: Reference
    ) -> float:
        first = captured.first_position
        expected = reference([*ids, *tokens], self.heads)[:, first : first + self.n_tokens, : len(ids)]
        difference = np.abs(captured.rows[:, : self.n_tokens] - expected)
        difference[~np.isfinite(difference)] = np.inf
        worst = np.unravel_index(int(difference.argmax()), difference.shape)
        if difference[worst] > ROW_TOLERANCE:
            layer, head = self.heads[int(worst[0])]
            raise CaptureMismatchError(
                f"Self-test: layer {layer} head {head}, position {first + int(worst[1])}, column {int(worst[2])}: "
                f"vLLM's row has {captured.rows[worst]:.7g}, the reference {expected[worst]:.7g} "
                f"(allowed difference {ROW_TOLERANCE:.2g}). Rows cannot be trusted."
            )
        return float(difference[worst])


def self_test(llm: Any, reference: Reference | None = None) -> SelfTestReport:
    """Test a ``vllm.LLM`` made with `engine_options`. CaptureMismatchError: shut the engine down, do not serve."""
    from vllm import SamplingParams

    test = SelfTest.plan(llm.collective_rpc("describe_capture"))
    drafts = []
    llm.collective_rpc("check_kernel_output", args=(True,))
    try:
        for _ in _PASSES:
            keys = [uuid.uuid4().hex for _ in test.prompts]
            outputs = llm.generate(
                [{"prompt_token_ids": list(ids)} for ids in test.prompts],
                [SamplingParams(**test.sampling(key, ids)) for key, ids in zip(keys, test.prompts, strict=True)],
                use_tqdm=False,
            )
            for key, ids, output in zip(keys, test.prompts, outputs, strict=True):
                parts = llm.collective_rpc("fetch_rows", args=(key,))
                drafts.append((ids, list(output.outputs[0].token_ids), parts))
    finally:
        llm.collective_rpc("check_kernel_output", args=(False,))
    return test.judge(drafts, reference)


async def self_test_async(engine: Any, reference: Reference | None = None) -> SelfTestReport:
    """`self_test` for an ``AsyncLLM``."""
    from vllm import SamplingParams

    test = SelfTest.plan(await engine.collective_rpc("describe_capture"))
    drafts = []
    await engine.collective_rpc("check_kernel_output", args=(True,))
    try:
        for _ in _PASSES:
            for ids in test.prompts:
                key, tokens = uuid.uuid4().hex, []
                params = SamplingParams(**test.sampling(key, ids))
                async for output in engine.generate({"prompt_token_ids": list(ids)}, params, request_id=key):
                    tokens = list(output.outputs[0].token_ids)
                drafts.append((ids, tokens, await engine.collective_rpc("fetch_rows", args=(key,))))
    finally:
        await engine.collective_rpc("check_kernel_output", args=(False,))
    return test.judge(drafts, reference)


def transformers_reference(model: str, revision: str | None = None) -> Reference:
    """Rows from Transformers' eager attention in float32; the model is loaded at the first call.

    Not for a process in which vLLM itself has loaded a model through its Transformers back end: it changes
    Transformers' classes there. An engine with processes of its own (``AsyncLLM``) is no such case.
    """
    loaded: list[Any] = []

    def rows(ids: Sequence[int], heads: Sequence[tuple[int, int]]) -> npt.NDArray[np.float32]:
        import torch
        from transformers import AutoModelForCausalLM

        if not loaded:
            eager = AutoModelForCausalLM.from_pretrained(
                model, revision=revision, dtype=torch.float32, attn_implementation="eager"
            )
            loaded.append(eager.eval())
        with torch.inference_mode():
            attentions = loaded[0](torch.tensor([list(ids)]), output_attentions=True, use_cache=False).attentions
        stacked: npt.NDArray[np.float32] = torch.stack([attentions[layer][0, head] for layer, head in heads]).numpy()
        return stacked

    return rows
