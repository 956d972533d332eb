"""Fixtures of several test files."""

from __future__ import annotations

from pathlib import Path

import pytest
from eval_runs import write_references


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Folder with the segmentation and references of two short made-up talks."""
    return write_references(tmp_path / "refs")
