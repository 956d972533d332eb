"""Ways to attention rows: Transformers' ``output_attentions``, the SDPA capture, vLLM's, and what each costs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm
from transformers import AutoTokenizer, DynamicCache, Gemma4ForCausalLM

from agent.mt.config import MtConfig, PromptConfig
from agent.mt.drafter import DraftRequest, Head
from agent.mt.hf import HFDrafter, load_model
from agent.mt.prompt import PromptLayout
from agent.paths import resolve
from agent.vllm_engine.arguments import has_vllm
from bench.parts import Options
from bench.result import Cell, Result
from bench.skeletons.text import N_LAYERS, skeleton_config
from bench.vllm_engine import EngineProcess, EngineSetup, engine_modes
from demo.make.model import save

N_HEADS = 8
N_ROUNDS = 5
"""Of batches."""
EAGER = "eager, output_attentions"
N_WORDS = 60
"""Words of a prompt: a live sentence and two of context, about what a session shows."""
LOGIT_SIZE = 2.0
"""Standard deviation of the skeleton's attention logits."""
ABOUT = (
    "Greedy drafts, the prompt's pass included; batch 1, no KV cache kept between drafts, float32, one thread on a "
    "CPU. *eager* is a loop over a model with `attn_implementation='eager'` and `output_attentions=True`, the usual "
    "way to attention weights. The ways take turns prompt by prompt; medians over the prompts. *Batched*: all prompts "
    "at once, time divided by all tokens, median over rounds. vLLM's time includes the fetch of the rows. × is the "
    "ratio of medians to plain SDPA: of CPU time on a CPU, which other programs don't disturb much, of wall time on a "
    "GPU. "
    "Largest difference: of the rows from those of *eager*. The skeleton has the 42 layers × 8 heads of Gemma-4 E4B on "
    "a narrow residual stream, and random weights."
)


@dataclass(frozen=True)
class Written:
    """A draft of one way: tokens, rows (None where it reads none), seconds on the clock and of the processor."""

    token_ids: tuple[int, ...]
    rows: npt.NDArray[np.float32] | None
    wall_s: float
    cpu_s: float


Way = Callable[[DraftRequest], Written]


def prompts(tokenizer: Any, n: int) -> list[DraftRequest]:
    """Requests over consecutive words of the demo talks' English text; no heads, no length yet."""
    words = resolve("demo/talks/ref.en.txt").read_text(encoding="utf-8").split()
    layout = PromptLayout(tokenizer, PromptConfig(), "en", "de")
    built = [layout.build(words[start : start + N_WORDS]) for start in range(0, n * 20, 20)]
    return [DraftRequest(prompt.ids, prompt.source_span, (), 1) for prompt in built]


def write_soft_skeleton(folder: Path, n_layers: int = N_LAYERS) -> None:
    """The model of `bench.skeletons.text` with smaller keys.

    Random logits of their full size put each row on a single column, and magnify from layer to layer by how much two
    right computations differ.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(resolve(MtConfig().model)))
    torch.manual_seed(0)
    model = Gemma4ForCausalLM(skeleton_config(tokenizer, n_layers))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("k_norm.weight"):
                parameter.mul_(LOGIT_SIZE / parameter.numel() ** 0.5)
    save(model, tokenizer, folder)


def spread_heads(config: Any) -> tuple[Head, ...]:
    """``N_HEADS`` heads, evenly over the layers."""
    layers = np.linspace(0, config.num_hidden_layers - 1, N_HEADS).round().astype(int).tolist()
    return tuple(Head(layer, number % config.num_attention_heads) for number, layer in enumerate(layers))


@torch.inference_mode()
def eager_draft(
    model: Any, request: DraftRequest, heads: Sequence[Head]
) -> tuple[tuple[int, ...], npt.NDArray[np.float32]]:
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


def timed(
    write: Callable[[DraftRequest], tuple[tuple[int, ...], npt.NDArray[np.float32] | None]], request: DraftRequest
) -> Written:
    """Run one draft. It ends with tokens on the host, so nothing is left in a device's queue."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    token_ids, rows = write(request)
    return Written(token_ids, rows, time.perf_counter() - wall_s, time.process_time() - cpu_s)


def transformers_ways(config: MtConfig) -> tuple[Any, tuple[Head, ...], dict[str, Way]]:
    """Tokenizer, captured heads, and the three ways of Transformers."""
    model, tokenizer = load_model(config)
    eager, _ = load_model(config, "eager")
    drafter, heads = HFDrafter(model, ()), spread_heads(model.config)

    def with_heads(request: DraftRequest, wanted: tuple[Head, ...]) -> tuple[tuple[int, ...], Any]:
        asked = DraftRequest(request.prompt_ids, request.source_span, (), request.max_new_tokens, wanted)
        draft = drafter.draft(asked)
        return draft.token_ids, draft.rows if wanted else None

    ways: dict[str, Way] = {
        "SDPA, no rows": partial(timed, lambda request: with_heads(request, ())),
        f"SDPA, capture of {N_HEADS} heads": partial(timed, lambda request: with_heads(request, heads)),
        EAGER: partial(timed, lambda request: eager_draft(eager, request, heads)),
    }
    return tokenizer, heads, ways


def vllm_drafts(engine: EngineProcess, requests: Sequence[DraftRequest], at_once: int) -> list[Written]:
    """What an engine makes of the requests; each gets an equal share of the time."""
    done = engine.draft([list(request.prompt_ids) for request in requests], at_once)
    n = len(requests)
    return [
        Written(
            tuple(done.tokens[index]),
            done.rows[index][:, :, slice(*request.source_span)] if done.rows else None,
            done.wall_s / n,
            done.cpu_s / n,
        )
        for index, request in enumerate(requests)
    ]


def _alone(engine: EngineProcess, request: DraftRequest) -> Written:
    return vllm_drafts(engine, [request], 1)[0]


def vllm_setups(config: MtConfig, heads: Sequence[Head], n_tokens: int) -> dict[str, EngineSetup]:
    """Stock vLLM and capture, in the number type of ``config``; none where vLLM is not installed."""
    if not has_vllm():
        return {}
    modes = engine_modes()
    options = {**modes.get("piecewise", modes["eager"]), "dtype": config.dtype}
    model, pairs = str(resolve(config.model)), tuple((head.layer, head.head) for head in heads)
    return {
        "vLLM, no rows": EngineSetup(model, n_tokens, None, options),
        f"vLLM, capture of {N_HEADS} heads": EngineSetup(model, n_tokens, pairs, options),
    }


def compare(title: str, config: MtConfig, options: Options) -> list[tuple[Cell, ...]]:
    """Table rows of one model: every way."""
    tokenizer, heads, ways = transformers_ways(config)
    asked = [
        DraftRequest(request.prompt_ids, request.source_span, (), options.n_tokens)
        for request in prompts(tokenizer, options.n_prompts)
    ]
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(EngineProcess(setup))
            for name, setup in vllm_setups(config, heads, options.n_tokens).items()
        }
        for name, engine in engines.items():
            ways[name] = partial(_alone, engine)
        written: dict[str, list[Written]] = {name: [] for name in ways}
        for request in tqdm([asked[0], *asked], unit="prompt", desc=title):
            for name, way in ways.items():
                written[name].append(way(request))
        # The first of all was a warm-up.
        written = {name: drafts[1:] for name, drafts in written.items()}
        rounds: dict[str, list[list[Written]]] = {name: [] for name in engines}
        for _ in range(N_ROUNDS + 1):
            for name, engine in engines.items():
                rounds[name].append(vllm_drafts(engine, asked, len(asked)))
        for name, drafts in rounds.items():
            written[f"{name}, batched"] = sorted(drafts[1:], key=lambda each: each[0].cpu_s)[N_ROUNDS // 2]
    return _rows(title, written, config.device != "cuda" and not torch.cuda.is_available())


def _rows(title: str, written: dict[str, list[Written]], on_cpu: bool) -> list[tuple[Cell, ...]]:
    plain, reference = next(iter(written.values())), written[EAGER]
    rows: list[tuple[Cell, ...]] = []
    for name, drafts in written.items():
        wall_ms, cpu_ms = _median_ms([d.wall_s for d in drafts], drafts), _median_ms([d.cpu_s for d in drafts], drafts)
        base = _median_ms([d.cpu_s if on_cpu else d.wall_s for d in plain], plain)
        n_same = sum(a.token_ids == b.token_ids for a, b in zip(drafts, reference, strict=True))
        pairs = [(a.rows, b.rows) for a, b in zip(drafts, reference, strict=True) if a.token_ids == b.token_ids]
        differences = [float(np.abs(a - b).max()) for a, b in pairs if a is not None and b is not None]
        off = max(differences) if differences and drafts is not reference else None
        ratio = (cpu_ms if on_cpu else wall_ms) / base
        rows.append((title, name, wall_ms, cpu_ms, ratio, f"{n_same} of {len(drafts)}", off))
    return rows


def _median_ms(seconds: Sequence[float], drafts: Sequence[Written]) -> float:
    return 1000 * statistics.median(s / len(d.token_ids) for s, d in zip(seconds, drafts, strict=True))


def measure(options: Options) -> Result:
    """The embedded model and the skeleton."""
    embedded = MtConfig()
    with tempfile.TemporaryDirectory() as folder:
        write_soft_skeleton(Path(folder))
        rows = [*compare("embedded", embedded, options), *compare("skeleton", replace(embedded, model=folder), options)]
    tokenizer = AutoTokenizer.from_pretrained(str(resolve(embedded.model)))
    lengths = [len(request.prompt_ids) for request in prompts(tokenizer, options.n_prompts)]
    columns = (
        *("model", "way", "ms per token", "CPU ms per token", "×", "same tokens as eager"),
        "largest difference",
    )
    settings = {
        "n_prompts": options.n_prompts,
        "n_tokens": options.n_tokens,
        "n_heads": N_HEADS,
        "median_prompt_tokens": statistics.median(lengths),
    }
    title = "Ways to attention rows"
    return Result("transformers", title, ABOUT, columns, tuple(rows), settings)
