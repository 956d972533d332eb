"""Word alignments of sentence pairs, without an API: eflomal, or a file of alignments somebody else made.

eflomal (Östling and Tiedemann 2016) is under the GPL and is only ever run as a program. Both directions are estimated
on the very text that is to be aligned; links that both have are kept.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent.errors import UserError
from heads.corpus import SentencePair, Span, piece_spans, read_lines, unit_spans
from heads.score import AlignedPair

PROGRAM = "eflomal-align"
Links = frozenset[tuple[Span, Span]]
"""Linked pairs of (source span, target span), in characters of the pair's texts."""


def eflomal_program() -> str:
    """Path of the aligner: beside this Python, else on the path. UserError that says how to get it."""
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise UserError(
            f"The word aligner {PROGRAM} is not installed: pip install eflomal (builds with gcc), or "
            "give alignments with --alignments FILE."
        )
    return found


def eflomal_version() -> str:
    """Version of the installed package, or ``unknown``."""
    try:
        return version("eflomal")
    except PackageNotFoundError:
        return "unknown"


def eflomal(pairs: Sequence[SentencePair]) -> list[Links]:
    """Links of every pair. The sampler is random: two runs differ in about one link of a hundred."""
    sources = [piece_spans(pair.source) for pair in pairs]
    targets = [piece_spans(pair.target) for pair in pairs]
    with tempfile.TemporaryDirectory(prefix="eflomal-") as scratch:
        folder = Path(scratch)
        for side, spans in (("source", sources), ("target", targets)):
            texts = (getattr(pair, side) for pair in pairs)
            lines = [" ".join(text[a:b] for a, b in where) for text, where in zip(texts, spans, strict=True)]
            (folder / side).write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [eflomal_program(), "-s", "source", "-t", "target", "-f", "forward", "-r", "reverse"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode or not (folder / "reverse").is_file():
            said = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise UserError(f"{PROGRAM} failed ({said[0]}).")
        forward, reverse = (read_pharaoh(folder / name, len(pairs)) for name in ("forward", "reverse"))
    return [
        frozenset((source[i], target[j]) for i, j in one & other)
        for source, target, one, other in zip(sources, targets, forward, reverse, strict=True)
    ]


def keep_links(path: Path, pairs: Sequence[SentencePair], links: Sequence[Links], n_lines: int) -> None:
    """Write links as a file that `given` reads; complete or not at all."""
    lines: list[list[list[int]]] = [[] for _ in range(n_lines)]
    for pair, of_pair in zip(pairs, links, strict=True):
        lines[pair.number - 1] = sorted([*source, *target] for source, target in of_pair)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(lines) + "\n", encoding="utf-8")
    partial.rename(path)


def read_pharaoh(path: Path, n_lines: int) -> list[frozenset[tuple[int, int]]]:
    """``i-j`` links a line, counted from 0 (``i?j`` and ``ipj``, possible links, are read alike).

    UserError when the file has another number of lines or something else in it.
    """
    lines = read_lines(path)
    if len(lines) != n_lines:
        raise UserError(f"{path} has {len(lines)} lines of alignments for {n_lines} sentence pairs.")
    result = []
    for number, line in enumerate(lines, 1):
        matches = [re.fullmatch(r"(\d+)[-?p](\d+)", item) for item in line.split()]
        if None in matches:
            raise UserError(
                f"{path}, line {number}: alignments are written i-j with spaces between, not '{line[:40]}'."
            )
        result.append(frozenset((int(m[1]), int(m[2])) for m in matches if m))
    return result


def given(path: Path, pairs: Sequence[SentencePair], n_lines: int) -> list[Links]:
    """Alignments from a file with an entry for each of the corpus's ``n_lines`` lines.

    ``*.json``: a list of lists of ``[source start, source end, target start, target end]``, in characters of the lines
    with white space folded. Anything else: Pharaoh ``i-j`` lines that count white-space-separated words, in Chinese or
    Japanese single characters.
    """
    if path.suffix == ".json":
        return _given_spans(path, pairs, n_lines)
    every = read_pharaoh(path, n_lines)
    links = []
    for pair in pairs:
        source, target = unit_spans(pair.source), unit_spans(pair.target)
        pair_links = every[pair.number - 1]
        for i, j in pair_links:
            if i >= len(source) or j >= len(target):
                raise UserError(
                    f"{path}, line {pair.number}: link {i}-{j} is outside {len(source)} source and {len(target)} "
                    "target words."
                )
        links.append(frozenset((source[i], target[j]) for i, j in pair_links))
    return links


def _given_spans(path: Path, pairs: Sequence[SentencePair], n_lines: int) -> list[Links]:
    wanted = "a list with one entry a line, each a list of [source start, source end, target start, target end]"
    try:
        every: Any = json.loads(path.read_text(encoding="utf-8"))
        if len(every) != n_lines:
            raise UserError(f"{path} has {len(every)} entries for {n_lines} lines.")
        links = []
        for pair in pairs:
            entry = frozenset(((int(a), int(b)), (int(c), int(d))) for a, b, c, d in every[pair.number - 1])
            if any(not (0 <= a < b <= len(pair.source) and 0 <= c < d <= len(pair.target)) for (a, b), (c, d) in entry):
                raise UserError(f"{path}, line {pair.number}: a span lies outside its sentence.")
            links.append(entry)
        return links
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} does not hold alignments ({error!r}): {wanted}.") from error


def to_aligned(pair: SentencePair, links: Links) -> AlignedPair:
    """Links between characters → source words of every unit of the target."""
    words, start = [], 0
    for word in pair.words:
        words.append((start, start + len(word)))
        start += len(word) + 1
    units = unit_spans(pair.target)
    sources = []
    for begin, end in units:
        linked = [source for source, (a, b) in links if a < end and b > begin]
        sources.append(frozenset(n for n, (a, b) in enumerate(words) if any(x < b and y > a for x, y in linked)))
    return AlignedPair(pair.words, pair.target, tuple(units), tuple(sources))


def coverage(pair: AlignedPair) -> float:
    """Share of target units with a source word."""
    return sum(map(bool, pair.sources)) / max(1, len(pair.sources))
