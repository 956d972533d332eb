"""The list of benchmarks, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from bench.result import Result

PARTS = {
    "transformers": "bench.transformers_rows",
    "fewer-tokens": "bench.fewer_tokens",
    "vllm-capture": "bench.vllm_capture",
}
"""Name and module of each part, in the order of the page. A part is imported only when it is run."""
GPU_PARTS = ("vllm-capture",)
"""Those that have more to measure where there is a GPU: a model of full size, CUDA graphs."""


@dataclass(frozen=True)
class Options:
    """``talks``: audio; ``recordings``: folder in which its recognised words are kept; ``n_prompts`` x ``n_tokens``."""

    talks: tuple[Path, ...] = ()
    recordings: Path = Path("out/recordings")
    presets: tuple[str, ...] = ("ende-low", "ende-high", "enit-low", "enit-high", "enzh-low", "enzh-high")
    n_prompts: int = 16
    n_tokens: int = 20


def run(name: str, options: Options) -> Result:
    """Measure one part."""
    measure = cast(Callable[[Options], Result], import_module(PARTS[name]).measure)
    return measure(options)
