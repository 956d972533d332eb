"""What a submission holds: names, folders and ``submission.json``.

```
TEAM_IWSLT26_SIMUL_TRACK_primary/
  submission.json  SHA256SUMS  README.md  Dockerfile  constraints.txt  alignatt_agent-….whl
  en-de/README.md
  en-de/low/{simulstream.jsonl,config.yaml,manifest.json,scores.json}   likewise high, other directions;
                                                                        head sets and templates of one's own
```
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.errors import UserError, nearest
from agent.run.folder import CONFIG, LOG, MANIFEST, SCORES
from eval.score import REGIME_LIMIT_MS

TRACKS = ("no-context", "context")
"""Main track; sub-track with a paper per talk."""
DESCRIPTION, SUMS, README, DOCKERFILE, CONSTRAINTS = (
    "submission.json", "SHA256SUMS", "README.md", "Dockerfile", "constraints.txt",
)  # fmt: skip
RUN_FILES = (LOG, CONFIG, MANIFEST, SCORES)
MOUNTED = "/weights"
"""Where the image looks for models that are not in the wheel."""
INSIDE = "/submission"
"""Where the image has the content of the tarball."""
PORT = 8080


@dataclass(frozen=True)
class Entry:
    """One run of the dev set. Latencies are ms."""

    direction: str
    regime: str
    bleu: float
    chrf: float
    cu_long_yaal_ms: float
    ca_long_yaal_ms: float | None
    xcomet_xl: float | None
    talks: tuple[str, ...]
    signature: str

    @property
    def folder(self) -> str:
        """``en-de/low``."""
        return f"{self.direction}/{self.regime}"


@dataclass(frozen=True)
class Submission:
    """submission.json: who submits what."""

    team: str
    track: str
    contact: str
    wheels: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """Folder inside the tarball, and the tarball's own name."""
        return f"{self.team}_IWSLT26_SIMUL_{self.track}_primary"

    @property
    def directions(self) -> tuple[str, ...]:
        """In the order of the entries."""
        return tuple(dict.fromkeys(entry.direction for entry in self.entries))

    def dump(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def check_names(team: str, track: str, contact: str) -> None:
    """UserError unless these three can be used."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", team):
        raise UserError(f"Team '{team}': letters, digits and hyphens only; it becomes part of a file name.")
    if track not in TRACKS:
        raise UserError(f"Track '{track}' is none of {', '.join(TRACKS)}.{nearest(track, TRACKS)}")
    if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+", contact):
        raise UserError(f"Contact '{contact}' is no e-mail address: organisers must be able to reach somebody.")


def check_complete(submission: Submission) -> None:
    """UserError unless every direction has one run in each regime."""
    pairs = [(entry.direction, entry.regime) for entry in submission.entries]
    twice = sorted({f"{direction} {regime}" for direction, regime in pairs if pairs.count((direction, regime)) > 1})
    if twice:
        raise UserError(f"More than one run of {', '.join(twice)}: a submission has one for each.")
    missing = [f"{d} {r}" for d in submission.directions for r in REGIME_LIMIT_MS if (d, r) not in pairs]
    if missing or not pairs:
        raise UserError(
            f"No run of {', '.join(missing) or 'anything'}: dev logs of every direction and regime are wanted."
        )


def parse(path: Path) -> Submission:
    """Read submission.json; UserError when it is not one."""
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(Entry(**{**entry, "talks": tuple(entry["talks"])}) for entry in tree["entries"])
        return Submission(**{**tree, "entries": entries, "wheels": tuple(tree["wheels"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path.name} is missing or not what `alignatt submission build` writes: {error}") from error
