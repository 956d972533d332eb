"""Names that stand for classes: ours by a short name, a user's own as ``package.module:Class``.

A file in the working directory counts as a module, so ``my_policy:CautiousTail`` is the class in ``my_policy.py``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import UserError, nearest

POLICIES = {
    "alignatt": "agent.mt.policy.alignatt:AlignAtt",
    "paper": "agent.mt.policy.paper:Paper",
    "local-agreement": "agent.mt.policy.local_agreement:LocalAgreement",
    "wait-k": "agent.mt.policy.wait_k:WaitK",
    "cut-last": "agent.mt.policy.cut_last:CutLast",
    "offline": "agent.mt.policy.offline:Offline",
}
"""Values of ``policy.name``."""
RECOGNISERS = {
    "sphinx": "agent.asr.sphinx:SphinxConfig",
    "qwen3": "agent.asr.qwen3.config:Qwen3Config",
    "replay": "agent.asr.replay:ReplayConfig",
}
"""Values of ``asr.recogniser``."""


def load_class(name: str, known: Mapping[str, str], base: type[Any], key: str) -> type[Any]:
    """The class that ``name``, the value of ``key``, stands for: a subclass of ``base``; UserError when it is none."""
    path = known.get(name, name)
    module_name, colon, class_name = path.partition(":")
    if not colon:
        own = " Or give a class of your own as package.module:Class."
        raise UserError(f"Key '{key}': there is no '{name}'.{nearest(name, known)}{own}")
    module = import_module(module_name, f"Key '{key}'")
    found = getattr(module, class_name, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise UserError(f"Key '{key}': '{module_name}' has no class '{class_name}'.{nearest(class_name, classes)}")
    if not inspect.isclass(found) or not issubclass(found, base):
        raise UserError(f"Key '{key}': {path} is no subclass of {base.__module__}.{base.__name__}.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise UserError(f"Key '{key}': {path} is abstract (missing {missing}).")
    return found


def name_of(cls: type[Any], known: Mapping[str, str]) -> str:
    """The short name of one of our classes, ``package.module:Class`` for another."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, other in known.items() if other == path), path)


def import_module(name: str, where: str) -> Any:
    """A module of an installed package or of the working directory. ``where``: begins the UserError when it fails."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{where}: cannot import '{name}' ({error}).") from error
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{where}: '{name}' does not load ({' '.join(str(error).split())}).") from error
