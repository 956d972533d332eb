"""``alignatt probe``: from a model to a working preset, with the reason where a model cannot be used.

The steps: configuration (refusals), prompt layout, rows against the model's eager attention, head set, time per token.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from agent.config import AgentConfig, to_dict
from agent.errors import UserError
from agent.mt import head_sets, model_check
from agent.mt.attention import IMPLEMENTATION, capturing, eager_rows
from agent.mt.checkpoint import end_of_turn_ids, read_config, read_tokenizer
from agent.mt.config import MtConfig, PromptConfig
from agent.mt.drafter import DraftRequest, Head
from agent.mt.policy.alignatt import AlignAtt
from agent.mt.prompt import LayoutError, PromptLayout
from agent.mt.transformers import TransformersDrafter
from agent.paths import resolve
from heads.calibrate import Subject
from heads.capture import ROW_SCALE, BatchCapture
from heads.score import AlignedPair, all_heads, force

MAX_DIFFERENCE = {"float32": 1e-3, "float64": 1e-3}
"""Largest difference of a weight between captured and eager rows; half precision is judged by `MIN_SAME_PEAK` alone."""
MIN_SAME_PEAK = 0.9
"""Share of rows whose peak inside the source must be the same."""
TIMED_TOKENS, TIMED_DRAFTS = 16, 5
USELESS_TS = 0.3


@dataclass(frozen=True)
class Parity:
    """Captured rows against eager ones: largest difference of a weight, share of rows with the same source peak."""

    max_difference: float
    same_peak: float


def fit_layout(tokenizer: Any, config: AgentConfig) -> tuple[PromptConfig, PromptLayout]:
    """The configured prompt, or its instruction in the user turn where the template has no system role."""
    prompt = config.mt.prompt
    try:
        return prompt, PromptLayout(tokenizer, prompt, config.source_lang, config.target_lang)
    except LayoutError:
        if not prompt.system or prompt.header:
            raise
    moved = dataclasses.replace(prompt, system="", header=prompt.system)
    return moved, PromptLayout(tokenizer, moved, config.source_lang, config.target_lang)


@torch.inference_mode()
def parity(subject: Subject, pair: AlignedPair) -> Parity:
    """Rows of all heads by the capture and by the same weights' eager attention. UserError when they disagree."""
    forced = force(subject.tokenizer, subject.layout, pair)
    if forced is None:
        raise UserError("The first sentence pair of the corpus has no aligned word; use other text.")
    model, heads = subject.model, all_heads(subject.model)
    capture = BatchCapture(heads, [forced.wanted])
    with capturing(capture):
        model(input_ids=torch.tensor([forced.ids], device=model.device), use_cache=False, logits_to_keep=1)
    try:
        captured = capture.results()[0].rows.astype(np.float64) / ROW_SCALE
    except RuntimeError as error:
        raise UserError(f"{subject.name} cannot be read: {error}. Use a model whose layers all run on SDPA.") from error
    rows = eager(model, forced.ids, heads, forced.wanted.source_span)
    expected = rows[:, list(forced.wanted.positions)].astype(np.float64)
    result = Parity(
        float(np.abs(captured - expected).max()),
        float((captured.argmax(axis=-1) == expected.argmax(axis=-1)).mean()),
    )
    dtype = str(model.dtype).removeprefix("torch.")
    if result.max_difference > MAX_DIFFERENCE.get(dtype, np.inf) or result.same_peak < MIN_SAME_PEAK:
        raise UserError(
            f"{subject.name}: captured rows differ from its own attention (by up to {result.max_difference:.2g}, same "
            f"peak in {result.same_peak:.0%}); it cannot be used, and its developers would like to know."
        )
    return result


@torch.inference_mode()
def eager(model: Any, ids: Sequence[int], heads: Sequence[Head], source_span: tuple[int, int]) -> Any:
    """Rows ``[heads, tokens, source tokens]`` of a whole sequence by the model's own attention."""
    model.set_attn_implementation("eager")
    try:
        return eager_rows(model, ids, heads, source_span).numpy()
    finally:
        model.set_attn_implementation(IMPLEMENTATION)


def time_per_token_ms(subject: Subject, pairs: Sequence[AlignedPair], threads: int) -> float:
    """Median milliseconds a drafted token over a few drafts without a kept cache (prompt included)."""
    drafter = TransformersDrafter(subject.model, end_of_turn_ids(subject.model, subject.tokenizer), threads)
    times = []
    for pair in [pairs[0], *pairs[:TIMED_DRAFTS]]:  # the first draft only warms up
        prompt = subject.layout.build(pair.words)
        started = time.perf_counter()
        draft = drafter.draft(DraftRequest(prompt.ids, prompt.source_span, (), TIMED_TOKENS))
        times.append(1000 * (time.perf_counter() - started) / max(1, len(draft.token_ids)))
    return statistics.median(times[1:])


def preset(config: AgentConfig, mt: MtConfig) -> str:
    """The configuration with this model as YAML for ``simulstream --config``."""
    policy = config.policy if config.policy.needs_rows else AlignAtt()
    tree = to_dict(dataclasses.replace(config, mt=mt, policy=policy))
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def portable(name: str) -> str:
    """A model's name that means the same from every folder: absolute for a folder, as it is for a hub id."""
    path = resolve(name)
    return str(path.resolve()) if path.is_dir() else name


def admit(config: AgentConfig) -> AgentConfig:
    """The configuration with a prompt that the model's template takes. UserError when the model cannot be used.

    Reads configuration and tokenizer only.
    """
    mt = dataclasses.replace(config.mt, model=portable(config.mt.model))
    model_check.refuse(read_config(mt), config.mt.model)
    prompt, _ = fit_layout(read_tokenizer(mt), config)
    if prompt.template:
        prompt = dataclasses.replace(prompt, template=str(resolve(prompt.template).resolve()))
    return dataclasses.replace(config, mt=dataclasses.replace(mt, prompt=prompt))


def output_files(folder: Path, config: AgentConfig) -> tuple[Path, Path]:
    """Head set and preset in ``folder``. UserError when they exist."""
    pair = f"{config.source_lang}{config.target_lang}"
    files = folder / f"heads-{pair}.json", folder / f"preset-{pair}.yaml"
    existing = [str(file) for file in files if file.exists()]
    if existing:
        raise UserError(f"{', '.join(existing)} exists; name another folder with --output.")
    head_sets.check_writable(files[0])
    return files
