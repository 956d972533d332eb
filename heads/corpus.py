"""Parallel text for calibration: two plain files, line by line; what cannot be used is left out and counted.

Three segmentations meet here. *Words* are what the recogniser will deliver and the prompt joins by spaces. *Pieces* are
what a word aligner sees: runs of letters and digits without punctuation, single characters in Chinese or Japanese.
*Units* are what the policy decides on: words of the target, in Chinese single characters.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import UserError

CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CJK = re.compile(f"[{CJK}]")
_PIECE = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_UNIT = re.compile(rf"[{CJK}]|[^\s{CJK}]+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")
Span = tuple[int, int]

MIN_WORDS, MAX_WORDS = 3, 60
"""Source words of a usable pair."""
MAX_LENGTH_RATIO = 2.2
"""How far the ratio of the two lengths may lie from the corpus's median ratio, as a factor."""
MIN_LETTERS = 0.5
"""Share of letters among the characters that are not white space."""
MIN_SENTENCE_LETTERS = 12
"""A shorter sentence inside a line ("Thank you.") says nothing about where the line is from."""
OVERLAP = "in the evaluation data"
"""Reason for leaving out a pair that shares a sentence with what is evaluated on."""


@dataclass(frozen=True)
class SentencePair:
    """One line of each file, white space folded. ``number`` counts lines from 1."""

    number: int
    source: str
    target: str

    @property
    def words(self) -> tuple[str, ...]:
        """Source words as the prompt gets them."""
        return tuple(self.source.split())


@dataclass(frozen=True)
class Corpus:
    """Usable pairs and how many were left out, by reason."""

    pairs: tuple[SentencePair, ...]
    left_out: Counter[str]
    files: tuple[Path, Path]

    @property
    def n_lines(self) -> int:
        """Lines of either file."""
        return len(self.pairs) + self.left_out.total()

    @property
    def hashes(self) -> tuple[str, str]:
        """SHA-256 of the two files, first 16 hex digits."""
        source, target = self.files
        return digest(source.read_bytes()), digest(target.read_bytes())


def digest(data: bytes) -> str:
    """SHA-256, first 16 hex digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def piece_spans(text: str) -> list[Span]:
    """Character spans of the pieces of ``text``."""
    return [match.span() for match in _PIECE.finditer(text)]


def unit_spans(text: str) -> list[Span]:
    """Character spans of the units of ``text``: words, and single characters of Chinese or Japanese."""
    return [match.span() for match in _UNIT.finditer(text)]


def has_cjk(text: str) -> bool:
    """Whether the text holds Chinese or Japanese characters."""
    return _CJK.search(text) is not None


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file with white space folded. UserError when it cannot be read as such."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path} is not UTF-8 (line {line}); convert it, e.g. iconv -f latin1 -t utf-8.") from error
    return [" ".join(line.split()) for line in text.removesuffix("\n").split("\n")] if text else []


def sentences(text: str) -> set[str]:
    """A line and the sentences in it, `normalised`; of the latter those long enough to be known again."""
    parts = {normalised(part) for part in _SENTENCE_END.split(text)}
    return {normalised(text), *(part for part in parts if len(part) >= MIN_SENTENCE_LETTERS)} - {""}


def normalised(text: str) -> str:
    """Letters and digits only, lower case: what two spellings of a sentence share."""
    return "".join(re.findall(r"[^\W_]+", text.casefold()))


def read_corpus(source: Path, target: Path, target_lang: str, held_out: Iterable[str] = ()) -> Corpus:
    """Read and filter two parallel files.

    ``held_out``: lines of evaluation sets, in either language; pairs with a sentence of theirs are left out under the
    reason ``in the evaluation data``. UserError for missing files, wrong encoding, unequal lengths or nothing usable.
    """
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise UserError(
            f"{source} has {len(sources)} lines and {target} has {len(targets)}; line n of one must translate line n "
            "of the other."
        )
    pairs = [SentencePair(n, s, t) for n, (s, t) in enumerate(zip(sources, targets, strict=True), 1)]
    evaluated = set().union(*map(sentences, held_out))
    ratios = [len(pair.target) / len(pair.source) for pair in pairs if pair.source and pair.target]
    usual = statistics.median(ratios) if ratios else 1.0
    kept: list[SentencePair] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for pair in pairs:
        reason = _unusable(pair, target_lang, usual)
        key = normalised(pair.source)
        if not reason and evaluated and not evaluated.isdisjoint(sentences(pair.source) | sentences(pair.target)):
            reason = OVERLAP
        elif not reason and key in seen:
            reason = "repeated"
        seen.add(key)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(pair)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common()) or "the files are empty"
        raise UserError(f"{source} and {target} hold no usable sentence pair ({reasons}).")
    return Corpus(tuple(kept), left_out, (source, target))


def _unusable(pair: SentencePair, target_lang: str, usual_ratio: float) -> str:
    if not pair.source or not pair.target:
        return "empty on one side"
    if len(pair.words) < MIN_WORDS:
        return f"shorter than {MIN_WORDS} words"
    if len(pair.words) > MAX_WORDS:
        return f"longer than {MAX_WORDS} words"
    if normalised(pair.source) == normalised(pair.target):
        return "not translated"
    if (target_lang in ("zh", "yue", "ja")) != has_cjk(pair.target):
        return "target in another script"
    ratio = len(pair.target) / len(pair.source) / usual_ratio
    if not 1 / MAX_LENGTH_RATIO <= ratio <= MAX_LENGTH_RATIO:
        return "lengths do not match"
    for text in (pair.source, pair.target):
        solid = text.replace(" ", "")
        if sum(map(str.isalpha, solid)) < MIN_LETTERS * len(solid):
            return "mostly not letters"
    return ""
