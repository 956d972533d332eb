"""Word error rate of the recogniser, from the source sentences that a run's trace says were committed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.run.folder import read_trace
from eval.inputs.log import Talk
from eval.inputs.references import References


def word_error_rate(trace: Path, talks: Sequence[Talk], references: References) -> float | None:
    """Edits per reference word over ``talks`` (0.1 is 10 %); None without trace, transcript or any traced talk."""
    if references.source is None or not trace.is_file():
        return None
    heard = read_trace(trace)
    if not all(talk.index in heard for talk in talks):
        return None
    edits = length = 0
    for talk in talks:
        wanted = normalise(" ".join(references.of_talk(talk.name).source or ()))
        edits += edit_distance(wanted, normalise(" ".join(map(_committed, heard[talk.index]))))
        length += len(wanted)
    return edits / length if length else None


def _committed(step: Mapping[str, Any]) -> str:
    """Text of the source sentences that a step committed."""
    return " ".join(str(word["text"]) for sentence in step.get("committed") or () for word in sentence)


def normalise(text: str) -> list[str]:
    """Lower-case words without punctuation; apostrophes close up (don't → dont), hyphens split."""
    text = re.sub(r"['’]", "", unicodedata.normalize("NFKC", text).lower())
    return re.findall(r"[^\W_]+", text)


def edit_distance(wanted: Sequence[str], given: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions of words; O(n·m) time, O(m) memory."""
    codes: dict[str, int] = {}
    columns = np.array([codes.setdefault(word, len(codes)) for word in given], dtype=np.int64)
    steps = np.arange(len(given) + 1)
    row = steps.copy()
    for word in wanted:
        best = row + 1
        best[1:] = np.minimum(best[1:], row[:-1] + (columns != codes.get(word, -1)))
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])
