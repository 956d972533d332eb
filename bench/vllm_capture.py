"""What attention capture costs under vLLM: drafts with rows of eight heads against stock vLLM, rows fetched.

Models: ``embedded``, the shipped one, 6 layers of 4 heads; ``skeleton``, Gemma-4 E4B's attention on a narrow residual
stream, random weights; on a GPU also ``e4b``, Gemma-4 E4B's whole shape, of which vLLM makes the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from agent.errors import UserError
from agent.mt.head_sets import head_set_path, load
from agent.vllm_engine.arguments import has_vllm
from bench.parts import Options
from bench.result import Cell, Result
from bench.skeletons.text import write_e4b, write_skeleton
from bench.vllm_engine import EngineProcess, EngineSetup, Round, engine_modes
from demo.make.model import FOLDER

AT_ONCE = (1, 2, 4, 8, 16)
N_ROUNDS = 8
N_ALONE = 4
"""Drafts of a round in which one is made at a time."""
N_HEADS = 8
PROMPT_TOKENS = 120
ABOUT = (
    "Greedy drafts from an empty prefix cache, the prompts' pass and the fetch of the rows included, so many requests "
    "at once. Stock vLLM "
    "(`AGENT_CAPTURE=0`) and capture of eight heads run in two processes that take turns round by round. × is the "
    "median over rounds of capture divided by stock: on the clock, and of the processor time of the engine's process, "
    "which other programs don't disturb much. Tokens: whether they are those of stock vLLM, and those drafted alone. "
    "Replay: turning recorded queries into rows; fetch: bringing them to the "
    "caller, without the replay. On a GPU a replay is queued and the fetch waits for it. The skeleton has Gemma-4 "
    "E4B's 42 layers × 8 heads on a narrow residual stream; e4b, measured where there is a GPU, its whole shape. Both "
    "have random weights; captured are the first eight heads of the en-de head sets, of Gemma-4 E4B the published one."
)
COLUMNS = (
    *("model", "mode", "at once", "stock, ms/token", "capture, ms/token", "×", "× of CPU time", "tokens"),
    *("replay, ms/draft", "fetch, ms/draft"),
)
Pairs = list[tuple[Round, Round]]
"""Rounds of stock vLLM and of capture that follow each other."""


def measure(options: Options) -> Result:
    """The embedded model and the skeleton; on a GPU also E4B's shape, and CUDA graphs."""
    if not has_vllm():
        raise UserError("vLLM is not installed: `make vllm` adds it to .venv.")
    rows: list[tuple[Cell, ...]] = []
    with TemporaryDirectory() as folder:
        skeleton, e4b = Path(folder, "skeleton"), Path(folder, "e4b")
        write_skeleton(skeleton)
        models: dict[str, tuple[Path, dict[str, Any]]] = {"embedded": (FOLDER, {}), "skeleton": (skeleton, {})}
        if torch.cuda.is_available():
            write_e4b(e4b)
            models["e4b"] = e4b, {"load_format": "dummy"}
        for name, (model, more) in models.items():
            for mode, settings in engine_modes().items():
                rounds = take_turns(f"{name} {mode}", model, best_heads(name), {**settings, **more}, options)
                label = f"{name}, {settings['dtype']}"
                rows += [(label, mode, *row) for row in summarise(rounds, options.n_tokens)]
    settings = {"n_tokens": options.n_tokens, "prompt_tokens": PROMPT_TOKENS, "n_rounds": N_ROUNDS}
    return Result("vllm-capture", "Attention rows from vLLM", ABOUT, COLUMNS, tuple(rows), settings)


def best_heads(model: str) -> tuple[tuple[int, int], ...]:
    """The heads to capture: layer, head."""
    heads = load(head_set_path("demo" if model == "embedded" else "gemma-4-E4B-it", "en", "de")).select(n=N_HEADS)
    return tuple((head.layer, head.head) for head in heads.heads)


def prompts(n: int, length: int, seed: int) -> list[list[int]]:
    """``n`` prompts of ``length`` random token ids, the first quarter the same in all of them."""
    random = np.random.default_rng(seed)
    shared = random.integers(300, 1500, length // 4).tolist()
    return [[*shared, *random.integers(300, 1500, length - len(shared)).tolist()] for _ in range(n)]


def take_turns(
    title: str, model: Path, heads: tuple[tuple[int, int], ...], settings: dict[str, Any], options: Options
) -> dict[int, Pairs]:
    """Rounds of a model by the number of requests at once. ``settings``: vLLM's."""
    rounds: dict[int, Pairs] = {n: [] for n in AT_ONCE}
    with (
        EngineProcess(EngineSetup(str(model), options.n_tokens, None, settings)) as stock,
        EngineProcess(EngineSetup(str(model), options.n_tokens, heads, settings)) as capture,
    ):
        for n in AT_ONCE:
            batch = prompts(N_ALONE if n == 1 else options.n_prompts, PROMPT_TOKENS, seed=1)
            for number in tqdm(range(N_ROUNDS + 1), f"{title}, {n} at once", unit="round"):
                # In turns who is first.
                order = (stock, capture) if number % 2 else (capture, stock)
                done = {engine: engine.draft(batch, n) for engine in order}
                if number:  # the first is a warm-up
                    rounds[n].append((done[stock], done[capture]))
    return rounds


def summarise(rounds: dict[int, Pairs], n_tokens: int) -> list[tuple[Cell, ...]]:
    """Figures of a table row for each number of requests at once."""
    alone = rounds[min(rounds)][0][0].tokens
    return [(n, *_figures(pairs, n_tokens, alone)) for n, pairs in rounds.items()]


def _figures(pairs: Pairs, n_tokens: int, alone: Sequence[list[int]]) -> tuple[Cell, ...]:
    n_drafts = len(pairs[0][0].tokens)
    per_token, per_draft = 1000 / (n_drafts * n_tokens), 1000 / n_drafts
    same = all(stock.tokens == capture.tokens and stock.tokens[: len(alone)] == alone for stock, capture in pairs)
    return (
        per_token * median(stock.wall_s for stock, _ in pairs),
        per_token * median(capture.wall_s for _, capture in pairs),
        median(capture.wall_s / stock.wall_s for stock, capture in pairs),
        median(capture.cpu_s / stock.cpu_s for stock, capture in pairs),
        "same" if same else "differ",
        per_draft * median(capture.replay_s for _, capture in pairs),
        per_draft * median(capture.fetch_s for _, capture in pairs),
    )
