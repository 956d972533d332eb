"""What the hub cache of this machine holds."""

from __future__ import annotations

from agent.weights import hub_cache


def cached(repository: str, file: str) -> bool:
    """Whether some snapshot of ``repository`` in the hub cache holds ``file`` (a glob pattern)."""
    snapshots = hub_cache() / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob(f"*/{file}"))
