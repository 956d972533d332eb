"""The folder of a run: the names of its files, how they are read, and how they come to be there at once.

``with OutputFolder(path, force) as output`` gives a hidden folder beside ``path`` to write into; `commit` renames it.
Leaving without a commit removes it, or keeps it as ``<path>.partial`` when it is marked worth keeping.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from agent.errors import UserError

LOG, CONFIG, TRACE, MANIFEST = "simulstream.jsonl", "config.yaml", "trace.jsonl", "manifest.json"
"""What a run writes: simulstream's log, the effective configuration, a line for each step, what it was made of."""
SCORES, SCORES_TABLE, SEGMENTS = "scores.json", "scores.tsv", "segments.json"
"""What scoring adds: its figures twice, and what is known of each reference segment."""
REPORT = "report.html"
REMEDIES = {MANIFEST: "run again, or delete it to do without", CONFIG: "correct it"}
"""What to do about a damaged file; all others come from scoring."""


def read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON or YAML file of a run, whoever's system it is of; empty when absent, UserError when it is damaged."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text) if name == CONFIG else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        remedy = REMEDIES.get(name, f"score the run again (alignatt score {folder})")
        raise UserError(f"{path} is not valid {path.suffix[1:].upper()} ({error}): {remedy}.") from error
    return tree if isinstance(tree, dict) else {}


def read_trace(path: Path) -> dict[int, list[dict[str, Any]]]:
    """The steps of a trace by stream; UserError for a line that is no step."""
    streams: dict[int, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                step = json.loads(line)
                streams.setdefault(int(step["stream"]), []).append(step)
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(f"{path}, line {number}: not a step of a trace. Run again with tracing.") from error
    return streams


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON that a person can read, all at once."""
    write_atomically(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write beside ``path`` and move: a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class OutputFolder:
    """Writes a folder all at once."""

    def __init__(self, path: Path, force: bool = False) -> None:
        check(path, force)
        self.path = path.expanduser().resolve()
        self.folder = self.path
        """Where to write until `commit`."""
        self.worth_keeping = False
        """Keep what was written when the run does not end well."""
        self._made: list[Path] = []

    def __enter__(self) -> OutputFolder:
        """Make the hidden folder, and the folders above it if need be."""
        parent = self.path.parent
        try:
            missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
            parent.mkdir(parents=True, exist_ok=True)
            self._made = missing
            self.folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=parent))
        except OSError as error:
            self._remove_made()
            raise UserError(f"Cannot write to {self.path}: {error.strerror}.") from error
        return self

    def commit(self) -> None:
        """Give the hidden folder its name; what `check` allowed to be replaced is replaced."""
        umask = os.umask(0)
        os.umask(umask)
        self.folder.chmod(0o777 & ~umask)
        _put(self.folder, self.path)
        self.folder = self.path
        self._made = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear up after a run that was not committed."""
        if self.folder == self.path:
            return
        if self.worth_keeping:
            partial = self.path.with_name(f"{self.path.name}.partial")
            if not partial.exists() or (partial / LOG).is_file():
                _put(self.folder, partial)
                print(f"Unfinished run kept in {partial} (its last talk may be incomplete).", file=sys.stderr)
                return
        shutil.rmtree(self.folder, ignore_errors=True)
        self._remove_made()

    def _remove_made(self) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return


def check(path: Path, force: bool) -> None:
    """UserError unless a run may be written to ``path``: not there, empty, or a run of ours and ``force``."""
    path = path.expanduser()
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"--output {path} is a file; name a folder.")
    names = {entry.name for entry in path.iterdir()}
    if not names:
        return
    if LOG not in names:
        raise UserError(f"--output {path} holds other files and no run; name a new folder.")
    if not force:
        raise UserError(f"--output {path} already holds a run; give --force to replace it, or name a new folder.")
    if not {CONFIG, MANIFEST} <= names or Path.cwd().is_relative_to(path.resolve()):
        raise UserError(f"--force replaces only whole runs of this command; remove {path} yourself or name another.")


def _put(folder: Path, path: Path) -> None:
    """Rename ``folder`` to ``path``, replacing a folder there."""
    if not path.exists():
        folder.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    path.rename(old / path.name)
    folder.rename(path)
    shutil.rmtree(old, ignore_errors=True)
