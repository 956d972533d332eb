"""Errors meant for the person who typed the command: one line that says what is wrong and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

EXIT_USER_ERROR = 2


class UserError(Exception):
    """Something the user gave cannot be used. ``str(error)`` is one printable line; commands exit with code 2.

    ``hints``: further lines, each a way out.
    """

    def __init__(self, message: str, hints: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.hints = tuple(hints)


def nearest(name: str, valid: Iterable[str]) -> str:
    """`` Did you mean 'X'?`` for the closest valid name, else the list of what is valid."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else f" Valid: {', '.join(names)}."
