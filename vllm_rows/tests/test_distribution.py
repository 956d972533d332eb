"""The distribution: what it exports, imports and packs."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from types import ModuleType

import pytest

import vllm_rows

PACKAGE = Path(vllm_rows.__file__).parent
SOURCES = sorted(path.name for path in PACKAGE.glob("*.py"))


def test_everything_public_is_exported_and_in_the_readme() -> None:
    public = {
        name
        for name, value in vars(vllm_rows).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(vllm_rows.__all__)
    readme = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert [name for name in vllm_rows.__all__ if name not in readme] == []


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_but_vllm_and_what_comes_with_it_is_imported(source: str) -> None:
    allowed = sys.stdlib_module_names | {"numpy", "torch", "transformers", "vllm", "vllm_rows"}
    imported = set()
    for node in ast.walk(ast.parse((PACKAGE / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0] if node.module else "")
    assert imported <= allowed


def test_importing_it_needs_numpy_alone() -> None:
    code = "import sys, vllm_rows, vllm_rows.plugin; print(*{'torch', 'transformers', 'vllm'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_wheel_holds_the_package_and_its_entry_point(tmp_path: Path) -> None:
    source = tmp_path / "vllm_rows"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "-w", str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        assert sorted(name for name in names if ".dist-info/" not in name) == sorted(
            f"vllm_rows/{name}" for name in [*SOURCES, "py.typed"]
        )
        info = {name.rpartition("/")[2]: packed.read(name).decode() for name in names if ".dist-info/" in name}
    assert info["entry_points.txt"].split("\n")[:2] == [
        "[vllm.general_plugins]",
        "attention_rows = vllm_rows.plugin:register",
    ]
    assert [name for name in Parser().parsestr(info["METADATA"]).get_all("Requires-Dist", []) if ";" not in name] == [
        "numpy"
    ]
    assert "Apache License" in info["LICENSE"]
