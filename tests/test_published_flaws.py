"""What the published implementation of AlignAtt for LLMs gets wrong, by number of our reference list.

What its policy gets wrong is tested where ours is: 1 (without hold-back nothing blocks), 2 (punctuation moves the
frontier) and 6 (the last word is lost) in `test_policy.py`, 3 (hold-back acts at the start only) in `test_words.py`, 7
(words beyond the audio), 8 (a surface mismatch mutes the stream) and 11 (an unbounded tail) in `test_asr_commit.py` and
`test_session.py`, 9 (layers with shared keys) in `test_hf.py`, 10 (heads of unknown origin) in `test_headset.py`, 12
(Chinese spaces) in `test_session.py`. Here is the rest.
"""

from __future__ import annotations

import ast
import dataclasses
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
from test_policy import accept, one_hot, view

from agent.config import AgentConfig, PolicyConfig, preset_names, preset_path, to_dict
from agent.words import Frontier

ROOT = Path(__file__).parents[1]
PACKAGES = ("agent", "heads", "eval", "demo")


def test_4_no_soft_gate_disables_a_conservative_margin() -> None:
    row = np.zeros((1, 1, 6), dtype=np.float32)
    row[0, 0, 3] = 0.02
    draft = view([" a "], rows=row)
    assert accept("alignatt", draft, Frontier(6, 6), margin_words=3).stop_reason == "frontier"


def test_5_our_policy_does_not_filter_a_lone_sharp_peak_away() -> None:
    draft = view([" a "], rows=one_hot([8], 12)[None], words=range(12))
    assert accept("alignatt", draft, Frontier(10, 12), margin_words=2).stop_reason == "frontier"
    assert accept("alignatt", draft, Frontier(12, 12), margin_words=2).n_tokens == 1


def test_13_no_package_of_ours_shadows_the_toolkit() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    include = [package if package == "demo" else f"{package}*" for package in PACKAGES]
    assert project["tool"]["setuptools"]["packages"]["find"] == {"include": include}
    assert not (ROOT / "simulstream").exists()
    assert not list(ROOT.glob("simulstream*.py"))
    assert set(metadata.packages_distributions()["simulstream"]) == {"simulstream"}


def declared(cls: type) -> Iterator[str]:
    for field in dataclasses.fields(cls):
        if isinstance(field.default_factory, type):
            yield from declared(field.default_factory)
        else:
            yield field.name


def test_14_every_knob_is_declared_once() -> None:
    # Two groups each have a model with its revision and an engine of their own; nothing else has the same name twice.
    twice = {name for name, count in Counter(declared(AgentConfig)).items() if count > 1}
    assert twice == {"engine", "model", "revision"}
    assert len(list(declared(AgentConfig))) < 70
    assert to_dict(AgentConfig())["policy"]["margin_words"] == PolicyConfig.margin_words


def test_14_presets_say_only_what_differs() -> None:
    for name in preset_names():
        assert len(preset_path(name).read_text(encoding="utf-8").splitlines()) < 40, name


def test_14_files_and_functions_stay_short() -> None:
    too_long = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        too_long += [f"{name}: {len(text.splitlines())} lines"] if len(text.splitlines()) >= 500 else []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                too_long += [f"{name}:{node.lineno} {node.name}: {length} lines"] if length > 60 else []
    assert too_long == []
