"""Fixtures of several test files."""

from __future__ import annotations

from pathlib import Path

import pytest
from eval_runs import german_talks, write_references, write_run


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Folder with the segmentation and references of two short made-up talks."""
    return write_references(tmp_path / "refs")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Output folder of a run of the two talks in German."""
    return write_run(tmp_path / "run", german_talks())
