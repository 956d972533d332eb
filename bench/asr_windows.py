"""What a chunk costs the Qwen3-ASR recogniser when finished windows of the live tail are kept, and when not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import soundfile
import torch
from tqdm import tqdm

from agent.asr.contract import SAMPLE_RATE_HZ, Samples
from agent.asr.qwen3.audio import WINDOW_FRAMES, n_audio_tokens, prepare
from agent.asr.qwen3.checkpoint import Checkpoint, open_checkpoint
from agent.asr.qwen3.engine import Generator
from agent.asr.qwen3.prompt import recognition_prompt
from agent.asr.qwen3.transformers import TransformersGenerator
from agent.asr.qwen3.vllm import EngineLimits, VllmGenerator
from agent.errors import UserError
from agent.vllm_engine.arguments import has_vllm
from bench.parts import Options
from bench.result import Cell, Result
from bench.skeletons.speech import SIZES, write_native
from bench.vllm_engine import cpu_s

TAILS_S = (10.0, 20.0, 28.0)
CHUNK_S = 0.85
N_ROUNDS = 5
N_DECODED = 16
ROUND_S = 5.0
"""Each round begins so much later in the talk."""
TIMEOUT_S = 600.0
COLUMNS = ("engine", "tail, s", "kept", "of", "none, ms", "windows, ms", "×", "× of CPU time", "ms per decoded token")
ABOUT = (
    "A live tail of speech has just grown by a chunk of 0.85 s: time until the recogniser's first token, the "
    "features, the speech encoder and the prompt's pass included. Windows: finished 8 s windows are audio items of "
    "their own, which the engine keeps; none: the tail is one item, encoded as a whole "
    "(`Transcriber(reuse_windows=False)`). Kept: tokens of the prompt that were not computed again, by the encoder on"
    " Transformers, by encoder and decoder on vLLM. Each round takes another stretch of the talk, both ways follow "
    "each other, × is the median of windows / none within a round, on the clock and of processor time. Decoding an "
    "answer costs the same both ways. The loudest moment is in the first window, as it is once somebody has spoken "
    "for a while: otherwise features of earlier windows change. Random model: {parameters} million parameters."
)


@dataclass(frozen=True)
class Asked:
    """One request. ``wall_s``, ``cpu_s``: time on the clock and on the processor; ``n_kept`` of ``n_prompt`` tokens
    were not computed again."""

    wall_s: float
    cpu_s: float
    n_kept: int
    n_prompt: int


def measure(options: Options) -> Result:
    """Transformers, and vLLM where it is installed."""
    if not options.talks:
        raise UserError("asr-windows needs a talk: --talks audio.")
    talk, rate = soundfile.read(options.talks[0], dtype="float32")
    needed_s = (N_ROUNDS - 1) * ROUND_S + max(TAILS_S)
    if rate != SAMPLE_RATE_HZ or talk.ndim > 1 or len(talk) < needed_s * rate:
        raise UserError(f"asr-windows needs {needed_s:.0f} s of 16 kHz mono; {options.talks[0]} is not.")
    rows: list[tuple[Cell, ...]] = []
    with TemporaryDirectory() as folder, one_thread():
        checkpoint, n_parameters = random_recogniser(Path(folder))
        for engine in ("hf", *(["vllm"] if has_vllm() else [])):
            rows += engine_rows(engine, checkpoint, talk)
    about = ABOUT.format(parameters=round(n_parameters / 1e6))
    settings = {"n_rounds": N_ROUNDS, "chunk_s": CHUNK_S, "talk": options.talks[0].stem}
    return Result("asr-windows", "Reused windows of the speech encoder", about, COLUMNS, tuple(rows), settings)


def random_recogniser(folder: Path, size: str = "mid") -> tuple[Checkpoint, int]:
    """A recogniser with random weights, and its number of parameters."""
    model, _ = write_native(folder, "asr", SIZES[size])
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    return open_checkpoint(str(folder), "", "recogniser", native_only=True), n_parameters


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, as vLLM on a CPU does here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def engine_rows(engine: str, checkpoint: Checkpoint, talk: Samples) -> list[tuple[Cell, ...]]:
    """Table rows of one engine."""
    if engine == "hf":
        return tail_rows(engine, TransformersGenerator(checkpoint, TIMEOUT_S), checkpoint, talk)
    generator = VllmGenerator(checkpoint, EngineLimits(timeout_s=TIMEOUT_S))
    try:
        return tail_rows(engine, generator, checkpoint, talk)
    finally:
        generator.engine.close()


def tail_rows(engine: str, generator: Generator, checkpoint: Checkpoint, talk: Samples) -> list[tuple[Cell, ...]]:
    """A row for each length of the tail."""
    for by_window in (True, False):  # warm-up
        ask(generator, checkpoint, talk[-5 * SAMPLE_RATE_HZ :], by_window)
    rounds: dict[float, list[tuple[Asked, Asked]]] = {tail_s: [] for tail_s in TAILS_S}
    decode_s = []
    for number in tqdm(range(N_ROUNDS), f"asr-windows, {engine}", unit="round"):
        start = round(number * ROUND_S * SAMPLE_RATE_HZ)
        for tail_s in TAILS_S:
            tail = talk[start : start + round(tail_s * SAMPLE_RATE_HZ)].copy()
            tail[:100] = 0.99
            asked = {}
            for by_window in (True, False) if number % 2 else (False, True):
                ask(generator, checkpoint, tail[: -round(CHUNK_S * SAMPLE_RATE_HZ)], by_window)
                asked[by_window] = ask(generator, checkpoint, tail, by_window)
            rounds[tail_s].append((asked[False], asked[True]))
        longer = ask(generator, checkpoint, tail, True, 1 + N_DECODED)
        shorter = ask(generator, checkpoint, tail, True)
        decode_s.append((longer.wall_s - shorter.wall_s) / N_DECODED)
    return [(engine, tail_s, *summarise(pairs), 1000 * median(decode_s)) for tail_s, pairs in rounds.items()]


def ask(generator: Generator, checkpoint: Checkpoint, samples: Samples, by_window: bool, n_tokens: int = 1) -> Asked:
    """Send one request."""
    in_process = isinstance(generator, TransformersGenerator)
    before = _kept(generator)
    wall, cpu = time.perf_counter(), time.process_time() if in_process else cpu_s()
    audio = prepare(samples, by_window)
    ids = checkpoint.encode(recognition_prompt(len(audio.pieces), "English"))
    generator.generate(ids, audio, n_tokens)
    wall_s = time.perf_counter() - wall
    spent_s = (time.process_time() if in_process else cpu_s()) - cpu
    kept = _kept(generator) - before
    if in_process:  # what was counted is pieces that were encoded
        kept = (len(audio.pieces) - kept) * n_audio_tokens(WINDOW_FRAMES)
    n_prompt = len(ids) - len(audio.pieces) + sum(audio.n_tokens)
    return Asked(wall_s, spent_s, kept, n_prompt)


def _kept(generator: Generator) -> int:
    if isinstance(generator, TransformersGenerator):
        return generator.n_encoded
    assert isinstance(generator, VllmGenerator)
    return generator.n_cached_tokens


def summarise(pairs: Sequence[tuple[Asked, Asked]]) -> tuple[Cell, ...]:
    """Figures of a table row from (none, windows) of each round."""
    return (
        round(median(windows.n_kept for _, windows in pairs)),
        round(median(windows.n_prompt for _, windows in pairs)),
        1000 * median(none.wall_s for none, _ in pairs),
        1000 * median(windows.wall_s for _, windows in pairs),
        median(windows.wall_s / none.wall_s for none, windows in pairs),
        median(windows.cpu_s / none.cpu_s for none, windows in pairs),
    )
