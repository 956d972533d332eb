"""What eflomal's alignments are worth, measured on gold ones: ``python -m demo.make.aligners --target de``.

First table: eflomal against the gold alignments of the controlled language. Second: heads calibrated on either, judged
by the TS of their mean row on other documents with gold alignments. Times are seconds of processor time.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from agent.mt.config import MtConfig
from agent.mt.hf import load_model
from demo.make.calibrate import CORPUS_SEED, SEED, gold_pairs, write_corpus
from demo.make.examples import DIRECTIONS
from demo.make.model import layouts
from heads.align import Symmetrisation, eflomal, given, to_aligned
from heads.calibrate import Calibrated, Subject, calibrate
from heads.corpus import Corpus, read_corpus
from heads.score import AlignedPair, RowStore, all_heads, collect
from heads.select import Kind, MeanRows, winner
from heads.text import spread

SIZES = (200, 2000)
N_SCORED, N_TEST = 100, 200
"""Pairs that heads are chosen on, and pairs of other documents that they are judged on."""
KINDS: tuple[Kind, ...] = ("top", "greedy")
HOW: tuple[Symmetrisation, ...] = ("intersection", "union")


def processor_s() -> float:
    """Seconds of processor time of this process and of those it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def agreement(gold: Sequence[AlignedPair], found: Sequence[AlignedPair]) -> tuple[float, float]:
    """Precision of the links, and the share of units with gold sources that got any."""
    right = said = covered = units = 0
    for one, other in zip(gold, found, strict=True):
        for true, guessed in zip(one.sources, other.sources, strict=True):
            right, said = right + len(true & guessed), said + len(guessed)
            units += bool(true)
            covered += bool(true and guessed)
    return right / said, covered / units


def read(folder: Path, target: str) -> tuple[Corpus, list[AlignedPair]]:
    """The language as a corpus of the largest size, with its gold alignments."""
    write_corpus(folder, target, max(SIZES), CORPUS_SEED)
    corpus = read_corpus(folder / f"en-{target}.en", folder / f"en-{target}.{target}", target)
    links = given(folder / f"en-{target}.json", corpus.pairs, max(SIZES))
    return corpus, list(map(to_aligned, corpus.pairs, links))


def align_all(
    corpus: Corpus, gold: Sequence[AlignedPair], table: Table
) -> dict[str, tuple[Sequence[AlignedPair], float]]:
    """Gold and eflomal's alignments with their processor time; a row of ``table`` for each of the latter."""
    alignments: dict[str, tuple[Sequence[AlignedPair], float]] = {"gold": (gold, 0.0)}
    for size in SIZES:
        for how in HOW:
            started = processor_s()
            links = eflomal(corpus.pairs[:size], symmetrisation=how)
            seconds = processor_s() - started
            found = [to_aligned(pair, of_pair) for pair, of_pair in zip(corpus.pairs, links, strict=False)]
            precision, covered = agreement(gold[: len(found)], found)
            table.add_row(str(size), how, f"{precision:.3f}", f"{covered:.3f}", f"{seconds:.1f}")
            alignments[f"eflomal, {size} lines, {how}"] = (found, seconds)
    return alignments


def judge(
    subject: Subject, done: Calibrated, kind: Kind, test: Sequence[AlignedPair], folder: Path
) -> tuple[str, float]:
    """The heads that a calibration chooses, and the TS of their mean row on the test pairs."""
    best = winner(done.candidates, kind)
    heads = all_heads(subject.model)
    store = RowStore(folder, subject.direction)
    keys = collect(subject.model, subject.tokenizer, subject.layout, test, heads, store, "test")
    weights = [float(done.scores[best.convention].ts[index]) for index in best.heads]
    rows = MeanRows.read(store, keys, best.convention, best.heads)
    names = " ".join(f"{heads[i].layer}.{heads[i].head}" for i in best.heads)
    return f"{best.convention} {names}", float(rows.score(range(len(weights)), weights).mean())


def table(title: str, *columns: str) -> Table:
    """An empty table."""
    made = Table(title=title)
    for column in columns:
        made.add_column(column)
    return made


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=[target for _, target in DIRECTIONS], default="de")
    target = parser.parse_args().target
    torch.set_num_threads(MtConfig.threads)
    model, tokenizer = load_model(MtConfig())
    subject = Subject(model, tokenizer, layouts(tokenizer)[target], MtConfig.model, f"en-{target}")
    quality = table(f"en-{target}: eflomal against gold", "lines", "links", "precision", "units aligned", "s")
    chosen = table(f"en-{target}: heads by the alignments they are chosen on", *("alignments", "choice", "heads"))
    for column in ("TS on gold", "s"):
        chosen.add_column(column)
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as scratch:
        corpus, gold = read(Path(scratch), target)
        alignments = align_all(corpus, gold, quality)
        console.print(quality)
        test = gold_pairs(target, N_TEST, SEED)
        for name, (pairs, aligning_s) in alignments.items():
            started = processor_s()
            done = calibrate(subject, spread([pair for pair in pairs if any(pair.sources)], N_SCORED), {})
            seconds = aligning_s + processor_s() - started
            for kind in KINDS:
                heads, ts = judge(subject, done, kind, test, Path(scratch) / "test")
                chosen.add_row(name, kind, heads, f"{ts:.4f}", f"{seconds:.1f}")
    console.print(chosen)
    used, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    console.print(f"peak memory: {used:.0f} MiB here, {child:.0f} MiB in eflomal")


if __name__ == "__main__":
    main()
