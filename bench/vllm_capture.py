"""What attention capture costs under vLLM: drafts with rows of eight heads against stock vLLM, rows fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from bench.parts import Options
from bench.result import Cell, Result
from bench.vllm_engine import EngineProcess, EngineSetup, Round, engine_modes, require_vllm
from bench.vllm_shapes import PROMPT_TOKENS, Shape, prompts, shape, shape_names

AT_ONCE = (1, 16)
N_ROUNDS = 8
N_ALONE = 4
"""Drafts of a round in which one is made at a time."""
ABOUT = (
    "Greedy drafts from an empty prefix cache, the prompts' pass and the fetch of the rows included. Stock vLLM "
    "(`AGENT_CAPTURE=0`) and capture of eight heads run in two processes that take turns round by round. × is the "
    "median over rounds of capture divided by stock: on the clock, and of the processor time of the engine's process, "
    "which other programs don't disturb much. Replay: turning recorded queries into rows; fetch: bringing them to the "
    "caller, without the replay. On a GPU a replay is queued and the fetch waits for it. The skeleton has Gemma-4 "
    "E4B's 42 layers × 8 heads on a narrow residual stream; e4b, measured where there is a GPU, its whole shape. Both "
    "have random weights; captured are the first eight heads of the en-de head sets, of Gemma-4 E4B the published one."
)


COLUMNS = (
    *("model", "mode", "at once", "stock, ms/token", "capture, ms/token", "×", "× of CPU time", "tokens"),
    *("replay, ms/draft", "fetch, ms/draft"),
)


def measure(options: Options) -> Result:
    """The embedded model and the skeleton; on a GPU also E4B's shape, and CUDA graphs."""
    require_vllm()
    rows: list[tuple[Cell, ...]] = []
    with TemporaryDirectory() as folder:
        for name in shape_names():
            model = shape(name, Path(folder))
            for mode, settings in engine_modes().items():
                rows += capture_cost(model, mode, settings, options)
    settings = {"n_tokens": options.n_tokens, "prompt_tokens": PROMPT_TOKENS, "n_rounds": N_ROUNDS}
    return Result("vllm-capture", "Attention rows from vLLM", ABOUT, COLUMNS, tuple(rows), settings)


def capture_cost(model: Shape, mode: str, settings: dict[str, Any], options: Options) -> list[tuple[Cell, ...]]:
    """Table rows of one model, one per number of requests at once. ``settings``: vLLM's, called ``mode``."""
    settings = {**model.options, **settings}
    folder, n_tokens = str(model.folder), options.n_tokens
    with (
        EngineProcess(EngineSetup(folder, n_tokens, None, settings)) as stock,
        EngineProcess(EngineSetup(folder, n_tokens, model.heads, settings)) as capture,
    ):
        rows = []
        for n in AT_ONCE:
            pairs, batch = [], prompts(N_ALONE if n == 1 else options.n_prompts, PROMPT_TOKENS, seed=1)
            for number in tqdm(range(N_ROUNDS + 1), f"{model.name} {mode}, {n} at once", unit="round"):
                # In turns who is first.
                order = (stock, capture) if number % 2 else (capture, stock)
                rounds = {engine: engine.draft(batch, n) for engine in order}
                if number:  # the first is a warm-up
                    pairs.append((rounds[stock], rounds[capture]))
            rows.append((f"{model.name}, {settings['dtype']}", mode, n, *summarise(pairs, n_tokens)))
    return rows


def summarise(pairs: Sequence[tuple[Round, Round]], n_tokens: int) -> tuple[Cell, ...]:
    """Figures of a table row. ``pairs``: rounds of stock vLLM and of capture that follow each other."""
    n_drafts = len(pairs[0][0].tokens)
    per_token, per_draft = 1000 / (n_drafts * n_tokens), 1000 / n_drafts
    same = all(stock.tokens == capture.tokens for stock, capture in pairs)
    return (
        per_token * median(stock.wall_s for stock, _ in pairs),
        per_token * median(capture.wall_s for _, capture in pairs),
        median(capture.wall_s / stock.wall_s for stock, capture in pairs),
        median(capture.cpu_s / stock.cpu_s for stock, capture in pairs),
        "same" if same else "differ",
        per_draft * median(capture.replay_s for _, capture in pairs),
        per_draft * median(capture.fetch_s for _, capture in pairs),
    )
