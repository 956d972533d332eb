"""From options to what calibration works on: aligned pairs with their provenance, and the loaded model."""

from __future__ import annotations

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console

from agent import languages
from agent.config import AgentConfig
from agent.mt.checkpoint import load_model
from agent.mt.prompt import PromptLayout
from agent.paths import PROJECT
from heads import align, corpus
from heads.calibrate import Subject
from heads.score import AlignedPair

MIN_COVERAGE = 0.5
"""A pair of which less of the target is aligned than this share of the corpus's median is noise, not a translation."""
T = TypeVar("T")
DEFAULT_HELD_OUT = "demo/talks/ref.*.txt"


@dataclass(frozen=True)
class CalibrationText:
    """Aligned pairs, and what the head set will say about them."""

    pairs: tuple[AlignedPair, ...]
    provenance: dict[str, Any]


def prepare(args: argparse.Namespace, source_lang: str, target_lang: str, console: Console) -> CalibrationText:
    """Read, filter and align the corpus that the options name; says what was left out."""
    source, target = args.corpus
    held_out = args.held_out or sorted(PROJECT.glob(DEFAULT_HELD_OUT))
    read = corpus.read_corpus(
        source, target, target_lang, [line for path in held_out for line in corpus.read_lines(path)]
    )
    links, how = _links(args, read)
    aligned = [align.to_aligned(pair, found) for pair, found in zip(read.pairs, links, strict=True)]
    usual = statistics.median(map(align.coverage, aligned))
    left_out = Counter(read.left_out)
    kept = [
        (sentence.number, pair)
        for sentence, pair in zip(read.pairs, aligned, strict=True)
        if align.coverage(pair) >= MIN_COVERAGE * usual and any(pair.sources)
    ]
    left_out["hardly aligned"] += len(aligned) - len(kept)
    left_out += Counter()  # drops zeros
    _report(console, read, left_out, how)
    pairs = with_context(kept, target_lang) if args.context else [pair for _, pair in kept]
    return CalibrationText(
        tuple(spread(pairs, args.max_pairs)),
        {
            "corpus": {
                "files": [path.name for path in read.files],
                "sha256": list(read.hashes),
                "lines": read.n_lines,
                "left_out": dict(left_out),
                "median_share_of_target_aligned": round(usual, 4),
                "context": bool(args.context),
            },
            **how,
        },
    )


def _links(args: argparse.Namespace, read: corpus.Corpus) -> tuple[list[align.Links], dict[str, Any]]:
    if args.alignments:
        digest = corpus.digest(args.alignments.read_bytes()) if args.alignments.is_file() else ""
        found = align.given(args.alignments, read.pairs, read.n_lines)
        return found, {"aligner": {"name": f"given, {args.alignments.name}", "sha256": digest}}
    return _by_eflomal(args.work, read), {"aligner": {"name": "eflomal"}, "tools": {"eflomal": align.eflomal_version()}}


def _by_eflomal(work: Path | None, read: corpus.Corpus) -> list[align.Links]:
    """eflomal's links; in a folder ``work`` those of the interrupted run, since no two runs of eflomal are the same."""
    if not work:
        return align.eflomal(read.pairs)
    asked = repr((read.hashes, [pair.number for pair in read.pairs]))
    kept = work / f"eflomal-{corpus.digest(asked.encode())}.json"
    if not kept.is_file():
        align.keep_links(kept, read.pairs, align.eflomal(read.pairs), read.n_lines)
    return align.given(kept, read.pairs, read.n_lines)


def _report(console: Console, read: corpus.Corpus, left_out: Counter[str], how: dict[str, Any]) -> None:
    console.print(f"{len(read.pairs)} sentence pairs aligned ({how['aligner']['name']}); left out: ", end="")
    console.print(", ".join(f"{count} {reason}" for reason, count in left_out.most_common()) or "none")
    overlap = left_out[corpus.OVERLAP]
    if overlap:
        console.print(
            f"warning: {overlap} sentence pairs are in the evaluation data; heads must not be chosen on what is scored."
        )


def with_context(numbered: Sequence[tuple[int, AlignedPair]], target_lang: str) -> list[AlignedPair]:
    """About half of the pairs become one with the next line, as a stream keeps the finished sentence in its prompt.

    Every line is used once: two pairs that share one would not be independent. Which are joined is random (a fixed
    seed), because pairs are later taken at regular distances.
    """
    rng = random.Random(0)
    result: list[AlignedPair] = []
    rest = list(reversed(numbered))
    while rest:
        number, pair = rest.pop()
        if rest and rest[-1][0] == number + 1 and rng.random() < 0.5:
            pair = joined(pair, rest.pop()[1], target_lang)
        result.append(pair)
    return result


def joined(first: AlignedPair, second: AlignedPair, target_lang: str) -> AlignedPair:
    """Two pairs as one document."""
    space = languages.get(target_lang).joiner
    shift, n_words = len(first.target) + len(space), len(first.words)
    return AlignedPair(
        first.words + second.words,
        first.target + space + second.target,
        first.spans + tuple((a + shift, b + shift) for a, b in second.spans),
        first.sources + tuple(frozenset(i + n_words for i in s) for s in second.sources),
    )


def spread(pairs: Sequence[T], most: int) -> list[T]:
    """At most ``most`` pairs, evenly from the whole corpus."""
    if len(pairs) <= most:
        return list(pairs)
    return [pairs[index * len(pairs) // most] for index in range(most)]


def load_subject(config: AgentConfig) -> Subject:
    """The model, tokenizer and prompt layout of a configuration."""
    torch.set_num_threads(config.mt.threads)
    model, tokenizer = load_model(config.mt)
    layout = PromptLayout(tokenizer, config.mt.prompt, config.source_lang, config.target_lang)
    direction = f"{config.source_lang}-{config.target_lang}"
    revision = config.mt.revision or getattr(model.config, "_commit_hash", None) or ""
    return Subject(model, tokenizer, layout, config.mt.model, direction, revision)
