"""Head sets of the embedded model, scored against the gold alignments: ``python -m demo.make.calibrate``.

Prints a table of translation scores and writes ``demo-en-{de,it,zh}.json`` into ``agent/head_sets`` or ``--output``.
With ``--write-corpus FOLDER`` it writes the language as parallel text with its alignments, for ``alignatt heads``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from agent.mt.checkpoint import load_model
from agent.mt.config import MtConfig
from agent.mt.drafter import Head, RowConvention
from agent.mt.head_sets import SETS, save
from demo.language import Unit, alignment, realise, sample_document, spoken_units
from demo.language.realisation import join
from demo.make.examples import DIRECTIONS
from demo.make.model import layouts
from demo.make.talk_texts import held_out_sources
from heads.calibrate import Calibrated, Subject, calibrate
from heads.score import CONVENTIONS, AlignedPair, all_heads
from heads.select import TOP_K

SEED, N_PAIRS = 9401, 200
CORPUS_SEED = 5203


def gold_pairs(target_lang: str, n_pairs: int, seed: int) -> list[AlignedPair]:
    """Unseen documents of one or two sentences as heard (no case, full stops only), with their gold alignments."""
    rng = random.Random(seed)
    pairs: list[AlignedPair] = []
    while len(pairs) < n_pairs:
        words: list[str] = []
        units: list[Unit] = []
        sources: list[frozenset[int]] = []
        for meaning in sample_document(rng, rng.randint(1, 2)):
            source, target = realise(meaning, "en"), realise(meaning, target_lang)
            links, heard = alignment(source, target), spoken_units(source)
            for index in range(len(target.units)):
                linked = {i for i, j in links if j == index}
                sources.append(frozenset(len(words) + n for n, (_, i) in enumerate(heard) if i in linked))
            units += target.units
            words += [word for word, _ in heard]
            words[-1] += "."
            if source.text in held_out_sources():
                break
        else:
            text, spans = join(target_lang, units)
            pairs.append(AlignedPair(tuple(words), text, spans, tuple(sources)))
    return pairs


def row(direction: str, done: Calibrated, convention: RowConvention, heads: Sequence[Head]) -> list[str]:
    """A line of the table: the best three heads, held-out TS of the mean rows of the best 1, 2, 4 and 8, the choice."""
    scores = done.scores[convention]
    best = [f"{heads[i].layer}.{heads[i].head} {scores.ts[i]:.3f}" for i in scores.order[:3]]
    means = {c.name: f"{c.held_out:.3f}" for c in done.candidates if c.convention == convention}
    chosen = done.winner.name if done.winner.convention == convention else ""
    return [direction, convention, *best, *(means[f"top-{k}"] for k in TOP_K), chosen]


def write_corpus(folder: Path, target_lang: str, n_pairs: int, seed: int) -> None:
    """``en-XX.en``, ``en-XX.XX``: the language as parallel text; ``en-XX.json``: gold links between characters."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = gold_pairs(target_lang, n_pairs, seed)
    links = []
    for pair in pairs:
        starts = [sum(len(word) + 1 for word in pair.words[:n]) for n in range(len(pair.words))]
        links.append(
            [
                [starts[i], starts[i] + len(pair.words[i]), begin, end]
                for (begin, end), sources in zip(pair.spans, pair.sources, strict=True)
                for i in sorted(sources)
            ]
        )
    texts = {"en": [" ".join(p.words) for p in pairs], target_lang: [p.target for p in pairs]}
    for lang, lines in texts.items():
        (folder / f"en-{target_lang}.{lang}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / f"en-{target_lang}.json").write_text(json.dumps(links) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MtConfig.model)
    parser.add_argument("--output", type=Path, default=SETS)
    parser.add_argument("--select", choices=("top", "greedy", "any"), default="top", help="which heads may be chosen")
    parser.add_argument("--write-corpus", type=Path, metavar="FOLDER", help="write parallel text instead")
    parser.add_argument("--pairs", type=int, default=2000, help="lines of parallel text (default: 2000)")
    arguments = parser.parse_args()
    if arguments.write_corpus:
        for _, target in DIRECTIONS:
            write_corpus(arguments.write_corpus, target, arguments.pairs, CORPUS_SEED)
        return
    torch.set_num_threads(MtConfig.threads)
    model, tokenizer = load_model(MtConfig(model=arguments.model))
    layout = layouts(tokenizer)
    table = Table(title="Translation scores of the embedded model (first token of each unit)")
    for column in ("direction", "rows", "best head", "second", "third", *(f"mean of {k}" for k in TOP_K), "used"):
        table.add_column(column)
    for source, target in DIRECTIONS:
        subject = Subject(model, tokenizer, layout[target], MtConfig.model, f"{source}-{target}")
        corpus = f"controlled language, gold alignments, {N_PAIRS} unseen documents, seed {SEED}"
        done = calibrate(subject, gold_pairs(target, N_PAIRS, SEED), {"corpus": corpus}, kind=arguments.select)
        save(arguments.output / f"demo-{source}-{target}.json", done.head_set)
        for convention in CONVENTIONS:
            table.add_row(*row(f"{source}-{target}", done, convention, all_heads(model)))
    Console().print(table)


if __name__ == "__main__":
    main()
