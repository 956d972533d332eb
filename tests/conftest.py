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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random translation model, and head sets of it for all directions. Not to be changed."""
    from tiny import save_head_sets, save_model

    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    save_head_sets(folder)
    return folder


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints of Qwen3-ASR and its aligner in both layouts. Not to be changed."""
    from tiny_qwen3_asr import build

    return build(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents hear what `listed_agent.TALK` says, and keep their models to themselves."""
    import listed_agent

    listed_agent.install(monkeypatch)
