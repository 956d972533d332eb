"""References that went through a spreadsheet: quotes doubled in lines, a stray one opening and closing a talk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from agent.errors import UserError

Damaged = Literal["refuse", "repair", "keep"]


def treat(lines: Sequence[str], talks: Sequence[str], path: Path, damaged: Damaged) -> tuple[str, ...]:
    """The lines as they are, repaired, or UserError that names the damaged ones. ``talks``: name of each line's."""
    if damaged == "keep":
        return tuple(lines)
    repaired = repair(lines, talks)
    changed = [number for number, (old, new) in enumerate(zip(lines, repaired, strict=True), start=1) if old != new]
    if changed and damaged == "refuse":
        first = ", ".join(map(str, changed[:5])) + (", …" if len(changed) > 5 else "")
        raise UserError(
            f"{path} went through a spreadsheet: quotes are doubled or stray in {len(changed)} lines ({first}). Score "
            "with --damaged-references repair (or keep, to compare with figures made on the damaged lines)."
        )
    return repaired


def repair(lines: Sequence[str], talks: Sequence[str]) -> tuple[str, ...]:
    """The lines with spreadsheet quoting undone, talk by talk; a talk without its marks is left as it is."""
    repaired: list[str] = []
    for _, group in groupby(zip(talks, lines, strict=True), key=lambda pair: pair[0]):
        block = [line for _, line in group]
        stray = (
            block[0].startswith('"')
            and block[-1].endswith('"')
            and block[0].count('"') % 2
            and block[-1].count('"') % 2
        )
        if stray:
            block[0], block[-1] = block[0][1:], block[-1][:-1]
        repaired += [line.replace('""', '"') for line in block]
    return tuple(repaired)
