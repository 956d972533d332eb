"""The trace of a run (`agent.trace`), read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent.errors import UserError


def read_trace(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Lines of a trace by stream; UserError when a line is not one."""
    streams: dict[int, list[dict[str, Any]]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                step = json.loads(line)
                committed(step)
                streams.setdefault(int(step["stream"]), []).append(step)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise UserError(f"{path}, line {number}: not a step of a trace. Run again with tracing.") from error
    return streams


def committed(step: dict[str, Any]) -> str:
    """Text of the source sentences that a step committed."""
    return " ".join(str(word["text"]) for sentence in step.get("committed") or () for word in sentence)
