"""Inside vLLM's processes: where they write, when they end; and from outside, why they ended.

An engine prints pages from several processes when it starts and when it dies, and its processes outlive a parent that
was killed. Each of them calls our entry point ``vllm.general_plugins``, which turns its output into the file that
``ALIGNATT_ENGINE_LOG`` names and binds its life to its parent's. Processes without that variable are left alone.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
from pathlib import Path

VARIABLE = "ALIGNATT_ENGINE_LOG"
"""Names the log; empty: write where the parent writes."""
MAX_REASON = 300
_PR_SET_PDEATHSIG = 1
_RAISED = re.compile(r"(?<![\w.])(?:[A-Za-z_]\w*\.)*(\w*(?:Error|Exception))\b: (\S.*)")
_WRAPPERS = ("Engine core initialization failed", "WorkerProc initialization failed", "EngineCore encountered")


def enter() -> None:
    """Entry point, called by vLLM in every process it starts."""
    path = os.environ.get(VARIABLE)
    if path is None or multiprocessing.parent_process() is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if path:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)


def reason(log: Path, start: int = 0) -> str:
    """The first error in the log from byte ``start`` on, in one line; empty when it tells none."""
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        match = _RAISED.search(line)
        if match and not any(wrapper in line for wrapper in _WRAPPERS):
            return f"{match.group(1)}: {' '.join(match.group(2).split())}"[:MAX_REASON]
    return ""
