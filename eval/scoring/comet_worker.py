"""Runs inside the COMET environment: ``python -I eval/scoring/comet_worker.py CHECKPOINT TASK.json RESULT.json``.

The task is a list of ``{"src", "mt", "ref"}``, the result ``{"scores": […], "device": …, "seconds": …, "peak_mib": …}``
with a score for each, in the same order. What the user can do something about goes to standard error in one line, exit
code 2. Nothing of this package is imported, and ``-I`` keeps its folder off the path: it holds a ``comet.py`` too.
"""

from __future__ import annotations

import importlib
import json
import logging
import pickle
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

BATCH_SIZE = 8
"""As OmniSTEval calls COMET, so that figures agree with its command line."""


def judge(checkpoint: Path, samples: list[dict[str, str]]) -> dict[str, Any]:
    """Scores of the samples by the model of a checkpoint, on the GPU if there is one."""
    began = time.monotonic()
    torch, comet = importlib.import_module("torch"), importlib.import_module("comet")
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    cuda = torch.cuda.is_available()
    model = comet.load_from_checkpoint(str(checkpoint), local_files_only=True)
    found = model.predict(
        samples,
        batch_size=BATCH_SIZE,
        accelerator="cuda" if cuda else "cpu",
        num_workers=0,
        progress_bar=sys.stdout.isatty(),
    )
    return {
        "scores": [float(score) for score in found.scores],
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "seconds": round(time.monotonic() - began, 1),
        "peak_mib": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
        ),
        "gpu_peak_mib": round(torch.cuda.max_memory_reserved() / 2**20) if cuda else 0,
    }


def main() -> int:
    """Command line."""
    checkpoint, task, result = map(Path, sys.argv[1:])
    try:
        found = judge(checkpoint, json.loads(task.read_text(encoding="utf-8")))
    except ImportError as error:
        return _say(f"the environment is not whole ({error}): make it again with `make comet-env`")
    except MemoryError:
        return _say("main memory is full: score on a machine with more of it")
    except pickle.UnpicklingError as error:
        why = str(error).splitlines()[0]
        return _say(
            f"{checkpoint} holds more than weights ({why}). If you trust it, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1"
        )
    except OSError as error:
        return _say(f"a file of the model is missing in the hub cache: {' '.join(str(error).split())[:300]}")
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        return _say("the GPU's memory is full: free it, or hide the GPU (CUDA_VISIBLE_DEVICES=) to score on the CPU")
    result.write_text(json.dumps(found), encoding="utf-8")
    return 0


def _say(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
