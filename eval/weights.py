"""Are the weights of a preset on this machine? ``python -m eval.weights PRESET`` exits 2 and says what to download."""

from __future__ import annotations

import sys

from agent import config
from agent.errors import EXIT_USER_ERROR, UserError
from agent.weights import find, hub_cache, named_models


def cached(repository: str, file: str) -> bool:
    """Whether some snapshot of ``repository`` in the hub cache holds ``file`` (a glob pattern)."""
    snapshots = hub_cache() / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob(f"*/{file}"))


def require(preset: str) -> None:
    """UserError unless the preset exists and its models are folders here or complete in the hub cache."""
    if preset not in config.preset_names():
        raise UserError(f"There is no preset '{preset}': this direction, regime and profile have none.")
    models = named_models(config.load(config.preset_path(preset)))
    if any(find(model.model, model.revision) is None for model in models):
        raise UserError(
            f"Preset '{preset}' needs weights that are not on this machine: alignatt models download --preset {preset}"
        )


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
