"""docs/files.md: every file of the code with the first line of its docstring; ``python docs/files.py`` writes it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "agent": "one stream, and the ground that every room may use",
    "agent/asr": "recognisers",
    "agent/asr/qwen3": "Qwen3-ASR and its aligner",
    "agent/mt": "prompt, draft, policy",
    "agent/mt/policy": "one rule a file",
    "agent/vllm_engine": "vLLM engines",
    "agent/run": "what a command does",
    "agent/cli": "the commands",
    "heads": "which attention heads to read",
    "eval": "scores",
    "eval/inputs": "logs, references, segmentations",
    "eval/scoring": "figures",
    "eval/report": "the HTML page",
    "eval/sweep": "many settings",
    "eval/submission": "the tarball for IWSLT",
    "vllm_rows": "attention rows from vLLM",
    "bench": "benchmarks",
    "bench/skeletons": "models of full shape with random weights",
    "demo/make": "what makes the embedded model, recogniser and talks",
    "demo/language": "the embedded language",
}
OTHERS = {
    "eval/report/page.html": "The page's frame and words.",
    "eval/report/page.css": "Its looks.",
    "eval/report/page.js": "Its tables and figures.",
    "eval/report/replay.js": "The replay.",
    "eval/report/anchors.json": "Published results that are shown beside ours.",
    "eval/submission/Dockerfile.j2": "The image that organisers build.",
    "eval/submission/README.md.j2": "The tarball's README.",
    "eval/submission/direction.md.j2": "The README of each direction.",
}


def page() -> str:
    """docs/files.md."""
    lines = ["# Files", "", "Made by `python docs/files.py` from the docstrings. How rooms hang together:"]
    lines += ["[architecture.md](architecture.md)."]
    for room, what in ROOMS.items():
        lines += ["", f"## {room}: {what}", ""]
        paths = sorted(path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py")
        lines += [f"- `{path.name}`: {_first_line(path)}" for path in paths]
        lines += [f"- `{Path(name).name}`: {text}" for name, text in OTHERS.items() if str(Path(name).parent) == room]
    return "\n".join(lines) + "\n"


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


if __name__ == "__main__":
    (ROOT / "docs" / "files.md").write_text(page(), encoding="utf-8")
