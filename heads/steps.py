"""The steps of a long command: all of them at its start, and each again as it begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn


class Steps:
    """Announces steps by name on stdout. Bars, of whatever a step counts, are that step's own."""

    def __init__(self, *names: str) -> None:
        self.names = names
        print(f"{len(names)} steps: {', '.join(names)}", flush=True)

    def begin(self, name: str) -> None:
        """Say which step begins."""
        print(f"{self.names.index(name) + 1}/{len(self.names)} {name}", flush=True)

    @contextmanager
    def wait(self, name: str) -> Iterator[None]:
        """A step whose end cannot be foreseen: on a terminal the time that has passed stands under it."""
        self.begin(name)
        console = Console(stderr=True)
        columns = TextColumn("    {task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            progress.add_task("working", total=None)
            yield
