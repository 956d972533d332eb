"""OmniSTEval in this process: resegmentation, BLEU, chrF and LongYAAL, every figure taken by its key."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from logging.handlers import BufferingHandler
from multiprocessing.pool import ThreadPool
from pathlib import Path

import omnisteval.alignment
import yaml
from omnisteval.data import Instance
from omnisteval.io import load_resegmentation_inputs
from omnisteval.resegment import resegment
from omnisteval.scoring import YAALScorer, evaluate_instances

from agent import languages
from agent.errors import UserError
from eval.inputs.log import Talk, write_clean
from eval.inputs.references import References
from eval.scoring.alignment import align_sequences

LATENCIES = ("long_yaal", "ca_long_yaal", "long_laal", "ca_long_laal")
"""Keys of the latencies that are reported, ms."""


@dataclass(frozen=True)
class Level:
    """How a target language is measured."""

    unit: str
    bleu_tokenizer: str


def level_of(language: str) -> Level:
    """Characters where a language writes no spaces, words elsewhere."""
    known = languages.get(language)
    return Level(known.unit, known.bleu_tokenizer)


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

    ``bleu``, ``chrf``; with ``latency`` also ``LATENCIES``.
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
            with _bounded_alignment():
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
    keys = ["bleu", "chrf", *(LATENCIES if latency else [])]
    return take(scores, keys, [message.getMessage() for message in messages]), instances


def take(scores: Mapping[str, float], keys: Iterable[str], messages: Sequence[str] = ()) -> dict[str, float]:
    """The figures of these keys; RuntimeError when one is missing or a metric failed inside OmniSTEval, UserError when
    one is not a number.

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
        raise UserError(
            f"OmniSTEval's {', '.join(broken)} is not a number: was everything emitted after the end of the recordings?"
        )
    return {key: float(scores[key]) for key in keys}


@contextlib.contextmanager
def _messages() -> Iterator[list[logging.LogRecord]]:
    """Collect what OmniSTEval logs at level warning or above instead of printing it."""
    logger = logging.getLogger("omnisteval")
    handler, propagate = BufferingHandler(sys.maxsize), logger.propagate
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.buffer
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextlib.contextmanager
def _bounded_alignment() -> Iterator[None]:
    """OmniSTEval aligns with `eval.scoring.alignment`, in this process: its own table is O(n·m) objects per talk."""
    original = omnisteval.alignment.Pool, omnisteval.alignment.align_sequences
    omnisteval.alignment.Pool, omnisteval.alignment.align_sequences = partial(ThreadPool, 1), align_sequences
    try:
        yield
    finally:
        omnisteval.alignment.Pool, omnisteval.alignment.align_sequences = original


def yaal_before_0_1_10(instances: Sequence[Instance]) -> float | None:
    """CU-LongYAAL of a simulstream log as OmniSTEval printed it before 0.1.10, ms; None when it has none.

    It took the end of each segment for the end of the recording, so that words emitted after their segment had ended,
    the late ones, did not count. For comparison with tables published in 2026 only.
    """
    cut = [dataclasses.replace(instance, time_to_recording_end=instance.source_length) for instance in instances]
    value = float(YAALScorer(is_longform=True)(cut))
    return None if math.isnan(value) else value
