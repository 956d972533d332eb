"""OmniSTEval in this process: resegmentation, BLEU, chrF and LongYAAL, every figure taken by its key."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import omnisteval.alignment
import yaml
from omnisteval.data import Instance
from omnisteval.io import load_resegmentation_inputs
from omnisteval.resegment import resegment
from omnisteval.scoring import evaluate_instances

from agent.errors import UserError
from eval.log import Talk, write_clean
from eval.references import References

BYTES_PER_CELL = 60
"""Memory of one cell of OmniSTEval's alignment table (two lists of lists), measured, with a margin for subwords."""


@dataclass(frozen=True)
class Level:
    """How a target language is measured."""

    unit: str
    bleu_tokenizer: str


def level_of(language: str) -> Level:
    """Characters for Chinese, words for everything else."""
    return Level("char", "zh") if language == "zh" else Level("word", "13a")


@dataclass(frozen=True)
class Inputs:
    """Files that OmniSTEval reads, all inside one temporary folder."""

    language: str
    log: Path
    config: Path
    segments: Path
    target: Path
    source: Path | None


def prepare(folder: Path, talks: Sequence[Talk], references: References, language: str) -> Inputs:
    """Write clean inputs for exactly these talks into ``folder``."""
    unit = level_of(language).unit
    source = folder / "source.txt" if references.source is not None else None
    inputs = Inputs(
        language, folder / "log.jsonl", folder / "config.yaml", folder / "segments.json", folder / "target.txt", source
    )
    write_clean(talks, inputs.log, unit)
    inputs.config.write_text(yaml.safe_dump({"detokenizer_type": "simuleval", "latency_unit": unit}), encoding="utf-8")
    references.write(inputs.segments, inputs.target)
    if source is not None and references.source is not None:
        source.write_text("".join(f"{line}\n" for line in references.source), encoding="utf-8")
    return inputs


def run(inputs: Inputs, *, latency: bool = True) -> tuple[dict[str, float], list[Instance]]:
    """Scores by OmniSTEval's keys, and its resegmented output.

    ``bleu``, ``chrf``; with ``latency`` also ``long_yaal``, ``ca_long_yaal`` (ms).
    """
    level = level_of(inputs.language)
    if level.unit == "word" and shutil.which("perl") is None:
        raise UserError("perl is not on the path: OmniSTEval's Moses tokeniser needs it to score words. Install perl.")
    with _messages() as messages:
        try:
            loaded = load_resegmentation_inputs(
                speech_segmentation=str(inputs.segments),
                text_segmentation=None,
                ref_sentences_file=str(inputs.target),
                hypothesis_file=str(inputs.log),
                hypothesis_format="simulstream",
                char_level=level.unit == "char",
                simulstream_config_file=str(inputs.config),
            )
            with _bounded_pool(loaded[0], loaded[1]):
                instances, _ = resegment(*loaded, char_level=level.unit == "char", lang=inputs.language)
            scores, *_ = evaluate_instances(
                instances=instances,
                is_longform=True,
                bleu_tokenizer=level.bleu_tokenizer,
                compute_quality=True,
                compute_latency=latency,
            )
        except (AssertionError, ValueError, KeyError, IndexError) as error:
            raise UserError(
                f"OmniSTEval could not score this log: {' '.join(str(error).split()) or error!r}"
            ) from error
    keys = ["bleu", "chrf", *(["long_yaal", "ca_long_yaal"] if latency else [])]
    return take(scores, keys, messages), instances


def take(scores: Mapping[str, float], keys: Iterable[str], messages: Sequence[str] = ()) -> dict[str, float]:
    """The figures of these keys; RuntimeError when one is missing, not a number, or a metric failed inside OmniSTEval.

    OmniSTEval turns an exception of BLEU or chrF into 0.0 and drops latency rows; only its log messages tell.
    """
    failures = [message for message in messages if "failed" in message.lower()]
    if failures:
        raise RuntimeError(f"OmniSTEval did not finish scoring: {'; '.join(failures)}")
    missing = [key for key in keys if key not in scores]
    if missing:
        hint = f" ({'; '.join(messages)})" if messages else ""
        raise RuntimeError(f"OmniSTEval gave no {', '.join(missing)}{hint}; it gave {', '.join(scores)}.")
    broken = [key for key in keys if not math.isfinite(scores[key])]
    if broken:
        raise RuntimeError(
            f"OmniSTEval's {', '.join(broken)} is not a number: was everything emitted after the end of the recordings?"
        )
    return {key: float(scores[key]) for key in keys}


@contextlib.contextmanager
def _messages() -> Iterator[list[str]]:
    """Collect what OmniSTEval logs at level warning or above instead of printing it."""
    collected: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            collected.append(record.getMessage())

    logger = logging.getLogger("omnisteval")
    handler, propagate = Collector(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield collected
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


class _SerialPool:
    """The two methods of multiprocessing.Pool that OmniSTEval uses, without processes."""

    def __enter__(self) -> _SerialPool:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [function(item) for item in items]


@contextlib.contextmanager
def _bounded_pool(target: Sequence[Sequence[Any]], hypothesis: Sequence[Sequence[Any]]) -> Iterator[None]:
    """Keep OmniSTEval's process pool within memory: its table is O(n·m) per talk and there is one per process."""
    cells = [(len(words) + 1) * (len(given) + 1) for words, given in zip(target, hypothesis, strict=True)]
    workers = n_workers(cells, available_bytes(), os.cpu_count() or 1)
    original = omnisteval.alignment.Pool
    omnisteval.alignment.Pool = _SerialPool if workers == 1 else lambda: Pool(workers)
    try:
        yield
    finally:
        omnisteval.alignment.Pool = original


def n_workers(cells: Sequence[int], available: int, cpus: int) -> int:
    """Processes for tables of these sizes; UserError when the largest alone exceeds ``available`` bytes."""
    largest = max(cells) * BYTES_PER_CELL
    if largest > available:
        raise UserError(
            f"Resegmenting the longest talk needs about {largest / 2**30:.0f} GiB of memory, {available / 2**30:.0f} "
            "are free: use a larger machine, or leave the talk out with --talks."
        )
    if sum(cells) < 1_000_000:
        return 1
    return max(1, min(cpus, len(cells), available // largest))


def available_bytes() -> int:
    """Physical memory that is free now."""
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").is_file() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**62
