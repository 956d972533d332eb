"""OmniSTEval in this process: resegmentation, BLEU, chrF and LongYAAL, every figure taken by its key."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def run(
    folder: Path, talks: Sequence[Talk], references: References, language: str, *, latency: bool = True
) -> tuple[dict[str, float], list[Instance]]:
    """Scores of exactly these talks by OmniSTEval's keys, and its resegmented output. Its files go into ``folder``.

    ``bleu``, ``chrf``; with ``latency`` also ``LATENCIES``.
    """
    level = languages.get(language)
    if level.unit == "word" and shutil.which("perl") is None:
        raise UserError("perl is not on the path: OmniSTEval's Moses tokeniser needs it to score words. Install perl.")
    log, config, segments, target = (folder / name for name in ("log.jsonl", "config.yaml", "segments.json", "target"))
    write_clean(talks, log, level.unit)
    config.write_text(yaml.safe_dump({"detokenizer_type": "simuleval", "latency_unit": level.unit}), encoding="utf-8")
    references.write(segments, target)
    with _messages() as messages:
        try:
            loaded = load_resegmentation_inputs(
                speech_segmentation=str(segments),
                text_segmentation=None,
                ref_sentences_file=str(target),
                hypothesis_file=str(log),
                hypothesis_format="simulstream",
                char_level=level.unit == "char",
                simulstream_config_file=str(config),
            )
            with _bounded_alignment():
                instances, _ = resegment(*loaded, char_level=level.unit == "char", lang=language)
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
