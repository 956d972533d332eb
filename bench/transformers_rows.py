"""Ways to attention rows on Transformers: ``output_attentions``, the SDPA capture, and what each costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm
from transformers import DynamicCache

from agent.mt.checkpoint import load_model
from agent.mt.config import MtConfig, PromptConfig
from agent.mt.drafter import DraftRequest, Head
from agent.mt.prompt import PromptLayout
from agent.mt.transformers import TransformersDrafter
from agent.paths import resolve
from bench.parts import Options
from bench.result import Cell, Result
from bench.skeletons.text import write_skeleton

N_HEADS = 8
EAGER = "eager, output_attentions"
N_WORDS = 60
"""Words of a prompt: a live sentence and two of context, about what a session shows."""
LOGIT_SIZE = 2.0
"""Standard deviation of the skeleton's attention logits."""
COLUMNS = ("model", "way", "ms per token", "CPU ms per token", "×", "same tokens as eager", "largest difference")
ABOUT = (
    "Greedy drafts, the prompt's pass included; batch 1, no KV cache kept between drafts, float32, one thread on a "
    "CPU. *eager* is a loop over a model with `attn_implementation='eager'` and `output_attentions=True`, the usual "
    "way to attention weights. The ways take turns prompt by prompt; medians over the prompts. × is the "
    "ratio of medians to plain SDPA: of CPU time on a CPU, which other programs don't disturb much, of wall time on a "
    "GPU. "
    "Largest difference: of the rows from those of *eager*. The skeleton has the 42 layers × 8 heads of Gemma-4 E4B on "
    "a narrow residual stream, and random weights."
)
Rows = npt.NDArray[np.float32]
Way = Callable[[DraftRequest], tuple[tuple[int, ...], Rows | None]]
"""Greedy tokens, and the rows of those heads that it reads."""


@dataclass(frozen=True)
class Written:
    """A draft of one way: tokens, rows (None where it reads none), seconds a token by the clock and the processor."""

    token_ids: tuple[int, ...]
    rows: Rows | None
    wall_s: float
    cpu_s: float


def prompts(tokenizer: Any, options: Options) -> list[DraftRequest]:
    """Requests over consecutive words of the demo talks' English text; no heads yet."""
    words = resolve("demo/talks/ref.en.txt").read_text(encoding="utf-8").split()
    layout = PromptLayout(tokenizer, PromptConfig(), "en", "de")
    built = [layout.build(words[start : start + N_WORDS]) for start in range(0, options.n_prompts * 20, 20)]
    return [DraftRequest(prompt.ids, prompt.source_span, (), options.n_tokens) for prompt in built]


def spread_heads(config: Any) -> tuple[Head, ...]:
    """``N_HEADS`` heads, evenly over the layers."""
    layers = np.linspace(0, config.num_hidden_layers - 1, N_HEADS).round().astype(int).tolist()
    return tuple(Head(layer, number % config.num_attention_heads) for number, layer in enumerate(layers))


@torch.inference_mode()
def eager_draft(model: Any, heads: Sequence[Head], request: DraftRequest) -> tuple[tuple[int, ...], Rows]:
    """Tokens and the rows that predict them, from ``output_attentions``."""
    cache, (start, end) = DynamicCache(), request.source_span
    ids = list(request.prompt_ids)
    tokens: list[int] = []
    rows: list[torch.Tensor] = []
    while len(tokens) < request.max_new_tokens:
        batch = torch.tensor([ids], device=model.device)
        output = model(batch, past_key_values=cache, output_attentions=True, use_cache=True, logits_to_keep=1)
        rows.append(torch.stack([output.attentions[layer][0, head, -1, start:end] for layer, head in heads]))
        tokens.append(int(output.logits[0, -1].argmax()))
        ids = tokens[-1:]
    return tuple(tokens), torch.stack(rows, dim=1).float().cpu().numpy()


def sdpa_draft(
    drafter: TransformersDrafter, heads: tuple[Head, ...], request: DraftRequest
) -> tuple[tuple[int, ...], Rows | None]:
    """Tokens and rows, if any are wanted, from the backend `transformers`."""
    draft = drafter.draft(replace(request, heads=heads))
    return draft.token_ids, draft.rows if heads else None


def timed(way: Way, request: DraftRequest) -> Written:
    """Run one draft. It ends with tokens on the host, so nothing is left in a device's queue."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    token_ids, rows = way(request)
    n = len(token_ids)
    return Written(token_ids, rows, (time.perf_counter() - wall_s) / n, (time.process_time() - cpu_s) / n)


def compare(title: str, config: MtConfig, options: Options) -> list[tuple[Cell, ...]]:
    """Table rows of one model: every way."""
    model, tokenizer = load_model(config)
    eager, _ = load_model(config, "eager")
    drafter, heads = TransformersDrafter(model, ()), spread_heads(model.config)
    ways: dict[str, Way] = {
        "SDPA, no rows": partial(sdpa_draft, drafter, ()),
        f"SDPA, capture of {N_HEADS} heads": partial(sdpa_draft, drafter, heads),
        EAGER: partial(eager_draft, eager, heads),
    }
    asked = prompts(tokenizer, options)
    written: dict[str, list[Written]] = {name: [] for name in ways}
    for request in tqdm([asked[0], *asked], unit="prompt", desc=title):
        for name, way in ways.items():
            written[name].append(timed(way, request))
    return _rows(title, {name: drafts[1:] for name, drafts in written.items()})  # the first was a warm-up


def _rows(title: str, written: dict[str, list[Written]]) -> list[tuple[Cell, ...]]:
    reference = written[EAGER]
    times_ms = {
        name: (1000 * median(d.wall_s for d in drafts), 1000 * median(d.cpu_s for d in drafts))
        for name, drafts in written.items()
    }
    compared = 0 if torch.cuda.is_available() else 1
    base = next(iter(times_ms.values()))[compared]
    rows: list[tuple[Cell, ...]] = []
    for name, drafts in written.items():
        same = [(a.rows, b.rows) for a, b in zip(drafts, reference, strict=True) if a.token_ids == b.token_ids]
        differences = [float(np.abs(a - b).max()) for a, b in same if a is not None and b is not None]
        off = max(differences) if differences and drafts is not reference else None
        ratio = times_ms[name][compared] / base
        rows.append((title, name, *times_ms[name], ratio, f"{len(same)} of {len(drafts)}", off))
    return rows


def measure(options: Options) -> Result:
    """The embedded model and the skeleton."""
    with tempfile.TemporaryDirectory() as folder:
        write_skeleton(Path(folder), logit_size=LOGIT_SIZE)
        models = {"embedded": MtConfig(), "skeleton": MtConfig(model=folder)}
        rows = [row for name, config in models.items() for row in compare(name, config, options)]
    settings = {"n_prompts": options.n_prompts, "n_tokens": options.n_tokens, "n_heads": N_HEADS}
    return Result("transformers", "Ways to attention rows", ABOUT, COLUMNS, tuple(rows), settings)
