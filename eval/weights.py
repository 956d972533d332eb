"""Are the weights of a preset on this machine? ``python -m eval.weights PRESET`` exits 2 and says what to download."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent import config
from agent.errors import EXIT_USER_ERROR, UserError
from agent.paths import resolve


def hub_cache() -> Path:
    """Folder of the Hugging Face hub cache, by the hub's own environment variables."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(home).expanduser() / "hub"


def cached(repository: str, file: str) -> bool:
    """Whether some snapshot of ``repository`` in the hub cache holds ``file`` (a glob pattern)."""
    snapshots = hub_cache() / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob(f"*/{file}"))


def require(preset: str) -> None:
    """UserError unless the preset exists and its models are folders here or complete in the hub cache."""
    if preset not in config.preset_names():
        raise UserError(f"There is no preset '{preset}': this direction, regime and profile have none.")
    settings = config.load(config.preset_path(preset))
    models = [settings.mt.model, *([] if settings.asr.engine == "replay" else [settings.asr.model])]
    missing = [name for name in models if not resolve(name).exists() and not cached(name, "config.json")]
    if missing:
        commands = " && ".join(f"hf download {name}" for name in missing)
        raise UserError(f"Preset '{preset}' needs weights that are not on this machine: {commands}")


def main() -> int:
    """Command line: one preset name."""
    try:
        require(sys.argv[1])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
