"""``alignatt doctor``: what is installed, and whether the configured model, heads and engine can work here."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt

from agent import __version__
from agent.errors import EXIT_USER_ERROR, UserError
from agent.run import manifest

if TYPE_CHECKING:
    from agent.catalogue import NamedModel
    from agent.config import AgentConfig
    from agent.mt.drafter import DraftRequest
    from agent.mt.hf import HFDrafter
    from agent.mt.vllm import VllmDrafter

GIB = 2**30
Rows = npt.NDArray[np.float32]
State = Literal["ok", "note", "FAIL"]
MAX_ROW_DIFFERENCE = 1e-3
"""Largest difference of a weight between the ``hf`` engine's rows and eager attention, float32."""
MIN_SAME_PEAK = 0.9
"""Share of rows with the same peak, in half precision."""
TESTED_TOKENS = 8


@dataclass(frozen=True)
class Finding:
    """One line: ``FAIL`` is what keeps the configuration from working, ``note`` is worth knowing."""

    state: State
    what: str
    text: str


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command; it sets ``run``, a callable from the parsed arguments to the exit code."""
    from agent.cli.heads import add_configuration

    parser = subparsers.add_parser(
        "doctor",
        help="versions, GPU, model, head set, memory; with --self-test the rows too",
        description="Say on one screen what is installed and whether a configuration can work here. Exit code 0 or 2.",
        allow_abbrev=False,
    )
    add_configuration(parser)
    parser.add_argument(
        "--self-test", action="store_true", help="load the model and compare attention rows with another computation"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 2 when one of them is a failure."""
    from agent.cli.heads import configuration

    failed = False
    for finding in examine(configuration(args), args.self_test):
        failed |= finding.state == "FAIL"
        print(f"{finding.state:<5}{finding.what:<12}{finding.text}", flush=True)
    return EXIT_USER_ERROR if failed else 0


def examine(config: AgentConfig, self_test: bool = False) -> Iterator[Finding]:
    """All findings, the slow ones last. Nothing is loaded without ``self_test``."""
    yield Finding("ok", "agent", f"alignatt-agent {__version__}, Python {platform.python_version()}, {_system()}")
    yield Finding("ok", "packages", ", ".join(f"{name} {version}" for name, version in manifest.versions().items()))
    yield _guarded("vLLM", lambda: _vllm(config))
    yield _gpu(config)
    yield _guarded("recogniser", lambda: _recogniser(config))
    yield _guarded("model", lambda: _model(config))
    yield _guarded("heads", lambda: _heads(config))
    perl = shutil.which("perl")
    yield Finding("ok" if perl else "note", "perl", perl or "not found: scoring of words (alignatt score) needs it")
    if self_test:
        yield _guarded("self-test", lambda: _self_test(config))


def _guarded(what: str, examine_it: Callable[[], tuple[State, str]]) -> Finding:
    try:
        state, text = examine_it()
        return Finding(state, what, text)
    except UserError as error:
        return Finding("FAIL", what, " ".join(str(error).split()))


def _system() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {free_memory_gib():.1f} GiB memory free"


def free_memory_gib() -> float:
    """Main memory that programs could still take, GiB; what is free where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / GIB
    except OSError:
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB


def _vllm(config: AgentConfig) -> tuple[State, str]:
    from agent.weights import gpu_shares
    from vllm_rows.vllm_internals import VERIFIED, vllm_version

    needed, version = config.mt.backend == "vllm", vllm_version()
    verified = f"verified: {', '.join(VERIFIED)}"
    if version is None:
        from agent.vllm_engine.arguments import require_vllm

        if needed:
            require_vllm("mt.backend=vllm", "mt.backend=transformers")
        if gpu_shares(config):
            return "FAIL", f"not installed; {', '.join(gpu_shares(config))} on vllm needs it (make vllm)"
        return "note", f"not installed; mt.backend=vllm needs it ({verified})"
    if version in VERIFIED:
        return "ok", f"{version}, {verified}; mt.backend={config.mt.backend}"
    return ("FAIL" if needed else "note"), f"{version} is installed, attention rows are {verified}"


def _gpu(config: AgentConfig) -> Finding:
    import torch

    if not torch.cuda.is_available():
        wanted = config.mt.device.startswith("cuda")
        return Finding("FAIL" if wanted else "ok", "GPU", "none; models run on the CPU" if not wanted else "none found")
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
        name = torch.cuda.get_device_name(index)
        found.append(f"{name}, {total / GIB:.0f} GiB ({free / GIB:.1f} free), compute capability {capability}")
    return Finding("ok", "GPU", "; ".join(found))


def _recogniser(config: AgentConfig) -> tuple[State, str]:
    from agent.run.missing import lacks_aligner

    if lacks_aligner(config):
        raise UserError(
            f"{config.recogniser_name} has no aligner for session.overlap=aligner; asr.recogniser=qwen3 has"
        )
    _refuse_missing(config, "asr.")
    return "ok", ", ".join([config.recogniser_name, *(model.model for model in config.asr.models)])


def _missing(config: AgentConfig, keys: str) -> list[NamedModel]:
    """Models whose key begins with ``keys`` that are not on this machine."""
    from agent.run.missing import missing_weights

    return [model for model in missing_weights(config) if model.key.startswith(keys)]


def _refuse_missing(config: AgentConfig, keys: str) -> None:
    """UserError when there are any."""
    from agent.run.missing import gigabytes
    from agent.weights import is_repository

    missing = _missing(config, keys)
    if not missing:
        return
    names = ", ".join(model.label for model in missing)
    fetched = [model.address for model in missing if is_repository(model.model)]
    remedy = f"alignatt models download {' '.join(fetched)}" if fetched else f"set {missing[0].key}"
    raise UserError(f"{names} not on this machine{gigabytes(missing)}: {remedy}")


def _model(config: AgentConfig) -> tuple[State, str]:
    from agent.mt.hf import checkpoint_name
    from agent.mt.vllm import load_checkpoint
    from agent.paths import resolve

    mt = config.mt
    checkpoint_name(mt)
    _refuse_missing(config, "mt.")
    checkpoint = load_checkpoint(mt)
    text = checkpoint.text_config
    layers = f"{text.num_hidden_layers} layers of {text.num_attention_heads} heads"
    shape = f"{mt.model}: {checkpoint.config.model_type}, {layers}"
    files = sorted(resolve(mt.model).glob("*.safetensors"))
    if not files:
        return "note", f"{shape}; weights come from the hub when they are needed"
    stored = sum(file.stat().st_size for file in files) / GIB
    needed = stored * _bytes(mt.dtype) / _bytes(str(getattr(text, "dtype", None)).removeprefix("torch."))
    free, where = _free_for_model(mt.device)
    fits = f"weights {needed:.2f} GiB in {mt.dtype}, {free:.1f} GiB free on the {where}"
    if mt.backend == "vllm" and where == "GPU":
        reserved = mt.vllm.gpu_memory_utilization * _gpu_gib()
        fits += f", of which vLLM takes {reserved:.1f} (mt.vllm.gpu_memory_utilization)"
        needed = max(needed, reserved)
    return ("ok" if needed < free else "FAIL"), f"{shape}; {fits}"


def _bytes(dtype: str) -> int:
    return {"float32": 4, "float64": 8}.get(dtype, 2)


def _gpu_gib() -> float:
    import torch

    return torch.cuda.mem_get_info()[1] / GIB


def _free_for_model(device: str) -> tuple[float, str]:
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / GIB, "GPU"
    return free_memory_gib(), "CPU"


def _heads(config: AgentConfig) -> tuple[State, str]:
    from agent.mt import head_sets, model_check

    policy = config.policy
    if not policy.needs_rows:
        return "ok", f"none needed by the policy {config.policy_name}"
    path = head_sets.head_set_path(config.mt.head_set, config.source_lang, config.target_lang)
    selection = head_sets.load(path).select(policy.row_convention, config.mt.n_heads)
    chosen = f"Read: {' '.join(f'{head.layer}.{head.head}' for head in selection.heads)} ({selection.convention})"
    if _missing(config, "mt."):
        return "note", f"{path}; the model has to be here to see whether it fits. {chosen}"
    return "ok", f"{model_check.check(config.mt, config.source_lang, config.target_lang)[0]} {chosen}"


def _self_test(config: AgentConfig) -> tuple[State, str]:
    from agent.models import ModelCache
    from agent.mt.drafter import DraftRequest
    from agent.mt.hf import HFDrafter

    cache = ModelCache()
    translator = cache.translator(config, config.source_lang, config.target_lang)
    selection = translator.selection
    if selection is None:
        return "note", f"the policy {config.policy_name} reads no rows"
    prompt = translator.layout.build(["the", "first", "words", "of", "a", "talk."])
    request = DraftRequest(prompt.ids, prompt.source_span, (), TESTED_TOKENS, selection.heads, selection.convention)
    if isinstance(translator.drafter, HFDrafter):
        return compare_with_eager(translator.drafter, request)
    try:
        report = cast("VllmDrafter", translator.drafter).self_test()
    finally:
        cache.close()
    text = f"{report.n_rows} rows of {report.n_heads} heads in {report.dtype}, times the values, are what the kernel "
    text += f"put out within {report.kernel_difference:.1e}"
    if report.row_difference is not None:
        text += f"; they are those of Transformers within {report.row_difference:.1e}"
    return "ok", text


def compare_with_eager(drafter: HFDrafter, request: DraftRequest) -> tuple[State, str]:
    """A draft's rows by the ``hf`` engine against the same model's eager attention."""
    import torch

    from agent.mt.attention import IMPLEMENTATION, eager_rows

    model = drafter.model
    draft = drafter.draft(request)
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            ids = (*request.prompt_ids, *draft.token_ids)
            rows = eager_rows(model, ids, request.heads, request.source_span).numpy()
    finally:
        model.set_attn_implementation(IMPLEMENTATION)
    first = len(request.prompt_ids) - (request.row_convention == "predicting")
    expected = rows[:, first : first + len(draft.token_ids)]
    return judge(draft.rows, expected, str(model.dtype).removeprefix("torch."), "those of eager attention")


def judge(rows: Rows, expected: Rows, dtype: str, whose: str) -> tuple[State, str]:
    """``rows`` and ``expected``: float32 ``[heads, tokens, source tokens]``."""
    n_heads, n_tokens, _ = rows.shape
    difference = float(np.abs(rows - expected).max(initial=0.0))
    same_peak = float((rows.argmax(axis=-1) == expected.argmax(axis=-1)).mean()) if rows.size else 0.0
    good = difference <= MAX_ROW_DIFFERENCE if dtype == "float32" else same_peak >= MIN_SAME_PEAK
    text = f"{n_tokens} rows of {n_heads} heads in {dtype} are {whose} within {difference:.1e}"
    return ("ok" if good and n_tokens else "FAIL"), f"{text}, same peak in {same_peak:.0%}"
