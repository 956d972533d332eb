"""vLLM's Qwen3-ASR without torchvision: an entry point ``vllm.general_plugins``.

vLLM's module for it imports, by way of another model's, a file of Transformers that prepares images with torchvision;
sound needs none of it. The torchvision on the package index is built for CUDA and fails beside a CPU build of PyTorch.
Where it is absent, that file is imported with empty modules in its place, when and only when vLLM loads Qwen3-ASR.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType, SimpleNamespace

MODULE = "vllm.model_executor.models.qwen3_asr"
IMAGES = "transformers.models.qwen2_vl.image_processing_qwen2_vl"
STAND_INS = (
    "torchvision",
    "torchvision.io",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.transforms.v2",
    "torchvision.transforms.v2.functional",
)


class _Empty(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> SimpleNamespace:
        if name.startswith("__"):
            raise AttributeError(name)
        return SimpleNamespace(__name__=name)


class _Finder(MetaPathFinder):
    """Finds nothing; prepares the import of `MODULE`."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == MODULE:
            sys.meta_path.remove(self)
            import_images()


def register() -> None:
    """Called by vLLM in every process that it starts."""
    absent = importlib.util.find_spec("torchvision") is None
    if absent and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def import_images() -> None:
    """Import `IMAGES` with stand-ins for torchvision, which are gone afterwards."""
    from transformers.utils import is_torchvision_available

    is_torchvision_available()  # remembers that it is absent, before anything stands in
    sys.modules.update({name: _Empty(name) for name in STAND_INS})
    try:
        importlib.import_module(IMAGES)
    finally:
        for name in STAND_INS:
            sys.modules.pop(name, None)
