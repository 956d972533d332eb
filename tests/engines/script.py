"""Runs a script of the tests that starts vLLM engines, in a process of its own; nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.paths import PROJECT

TIMEOUT_S = 1800.0


def result_of(script: str, *arguments: str | Path, **variables: str) -> Any:
    """What the last line that ``script`` prints says, as JSON. ``variables``: of its environment."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}", **variables},
        start_new_session=True,
    )
    try:
        printed, said = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.poll() is None or process.returncode:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, said[-3000:]
    return json.loads(printed.splitlines()[-1])
