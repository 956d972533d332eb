"""``alignatt doctor``: what is installed, and whether the configured model, heads and engine can work here."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from agent import __version__
from agent.cli.options import Subparsers, add_command, add_configuration, configuration
from agent.errors import EXIT_USER_ERROR, UserError
from agent.run import manifest, missing
from agent.run.manifest import GIB, free_memory_gib
from agent.run.missing import Finding, State

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from agent.mt.drafter import DraftRequest
    from agent.mt.transformers import TransformersDrafter
    from agent.mt.vllm import VllmDrafter

TESTED_TOKENS = 8


def add_parsers(subparsers: Subparsers) -> None:
    """Add the command."""
    summary = "versions, GPU, model, head set, memory; with --self-test the rows too"
    description = "Say on one screen what is installed and whether a configuration can work here. Exit code 0 or 2."
    parser = add_command(subparsers, "doctor", run, summary, description)
    add_configuration(parser)
    parser.add_argument(
        "--self-test", action="store_true", help="load the model and compare attention rows with another computation"
    )


def run(args: argparse.Namespace) -> int:
    """Print the findings; 2 when one of them is a failure."""
    failed = False
    for found in examine(configuration(args), args.self_test):
        failed |= found.state == "FAIL"
        print(f"{found.state:<5}{found.part:<12}{found.told}", flush=True)
    return EXIT_USER_ERROR if failed else 0


def examine(config: AgentConfig, self_test: bool = False) -> Iterator[Finding]:
    """All findings, the slow ones last. Nothing is loaded without ``self_test``."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {free_memory_gib():.1f} GiB free"
    yield Finding("agent", f"alignatt-agent {__version__}, Python {platform.python_version()}, {system}", "ok")
    yield Finding("packages", ", ".join(f"{name} {version}" for name, version in manifest.versions().items()), "ok")
    lacking = missing.findings(config)
    for part, look in (("vLLM", _vllm), ("GPU", _gpu), ("recogniser", _recogniser), ("model", _model)):
        yield from [found for found in lacking if found.part == part] or [_guarded(part, look, config)]
    yield _guarded("heads", _heads, config, lacking)
    perl = shutil.which("perl")
    absent = "not found: scoring of words (alignatt score) needs it"
    yield Finding("perl", perl or absent, "ok" if perl else "note")
    if self_test:
        yield _guarded("self-test", _self_test, config)


def _guarded(part: str, look: Callable[..., tuple[State, str]], *values: Any) -> Finding:
    try:
        state, text = look(*values)
        return Finding(part, text, state)
    except UserError as error:
        return Finding(part, " ".join(str(error).split()))


def _vllm(config: AgentConfig) -> tuple[State, str]:
    from vllm_rows.vllm_internals import VERIFIED, vllm_version

    version, verified = vllm_version(), f"verified: {', '.join(VERIFIED)}"
    if version is None:
        return "note", f"not installed; mt.backend=vllm needs it ({verified})"
    if version in VERIFIED:
        return "ok", f"{version}, {verified}; mt.backend={config.mt.backend}"
    return ("FAIL" if config.mt.backend == "vllm" else "note"), f"{version} is installed, attention rows are {verified}"


def _gpu(config: AgentConfig) -> tuple[State, str]:
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
        name = torch.cuda.get_device_name(index)
        found.append(f"{name}, {total / GIB:.0f} GiB ({free / GIB:.1f} free), compute capability {capability}")
    return "ok", "; ".join(found) or "none; models run on the CPU"


def _recogniser(config: AgentConfig) -> tuple[State, str]:
    return "ok", ", ".join([config.recogniser_name, *(model.model for model in config.asr.models)])


def _model(config: AgentConfig) -> tuple[State, str]:
    import torch

    from agent.mt.checkpoint import open_checkpoint
    from agent.paths import resolve

    mt = config.mt
    checkpoint = open_checkpoint(mt)
    text = checkpoint.text_config
    layers = f"{text.num_hidden_layers} layers of {text.num_attention_heads} heads"
    shape = f"{mt.model}: {checkpoint.config.model_type}, {layers}"
    files = sorted(resolve(mt.model).glob("*.safetensors"))
    if not files:
        return "note", f"{shape}; weights come from the hub when they are needed"
    stored = sum(file.stat().st_size for file in files) / GIB
    needed = stored * _bytes(mt.dtype) / _bytes(str(getattr(text, "dtype", None)).removeprefix("torch."))
    on_gpu = mt.device != "cpu" and torch.cuda.is_available()
    free = torch.cuda.mem_get_info()[0] / GIB if on_gpu else free_memory_gib()
    fits = f"weights {needed:.2f} GiB in {mt.dtype}, {free:.1f} GiB free on the {'GPU' if on_gpu else 'CPU'}"
    if mt.backend == "vllm" and on_gpu:
        reserved = mt.vllm.gpu_memory_utilization * torch.cuda.mem_get_info()[1] / GIB
        fits += f", of which vLLM takes {reserved:.1f} (mt.vllm.gpu_memory_utilization)"
        needed = max(needed, reserved)
    return ("ok" if needed < free else "FAIL"), f"{shape}; {fits}"


def _bytes(dtype: str) -> int:
    return {"float32": 4, "float64": 8}.get(dtype, 2)


def _heads(config: AgentConfig, lacking: Sequence[Finding]) -> tuple[State, str]:
    from agent.mt import head_sets, model_check

    policy = config.policy
    if not policy.needs_rows:
        return "ok", f"none needed by the policy {config.policy_name}"
    path = head_sets.head_set_path(config.mt.head_set, config.source_lang, config.target_lang)
    selection = head_sets.load(path).select(policy.row_convention, config.mt.n_heads)
    chosen = f"Read: {' '.join(f'{head.layer}.{head.head}' for head in selection.heads)} ({selection.convention})"
    if any(found.part == "model" for found in lacking):
        return "note", f"{path}; the model has to be here to see whether it fits. {chosen}"
    return "ok", f"{model_check.check(config.mt, config.source_lang, config.target_lang)[0]} {chosen}"


def _self_test(config: AgentConfig) -> tuple[State, str]:
    from agent.models import ModelCache
    from agent.mt.drafter import DraftRequest
    from agent.mt.transformers import TransformersDrafter

    cache = ModelCache()
    translator = cache.translator(config, config.source_lang, config.target_lang)
    selection = translator.selection
    if selection is None:
        return "note", f"the policy {config.policy_name} reads no rows"
    prompt = translator.layout.build(["the", "first", "words", "of", "a", "talk."])
    request = DraftRequest(prompt.ids, prompt.source_span, (), TESTED_TOKENS, selection.heads, selection.convention)
    if isinstance(translator.drafter, TransformersDrafter):
        return _compare_with_eager(translator.drafter, request)
    try:
        report = cast("VllmDrafter", translator.drafter).self_test()
    finally:
        cache.close()
    text = f"{report.n_rows} rows of {report.n_heads} heads in {report.dtype}, times the values, are what the kernel "
    text += f"put out within {report.kernel_difference:.1e}"
    if report.row_difference is not None:
        text += f"; they are those of Transformers within {report.row_difference:.1e}"
    return "ok", text


def _compare_with_eager(drafter: TransformersDrafter, request: DraftRequest) -> tuple[State, str]:
    """Rows of a draft of the `transformers` backend, ``[heads, tokens, source tokens]``, against eager attention."""
    from heads.probe import MAX_DIFFERENCE, MIN_SAME_PEAK, eager

    model = drafter.model
    draft = drafter.draft(request)
    n_heads, n_tokens, _ = draft.rows.shape
    rows = eager(model, (*request.prompt_ids, *draft.token_ids), request.heads, request.source_span)
    first = len(request.prompt_ids) - (request.row_convention == "predicting")
    expected = rows[:, first : first + n_tokens]
    difference = float(abs(draft.rows - expected).max(initial=0.0))
    same_peak = float((draft.rows.argmax(axis=-1) == expected.argmax(axis=-1)).mean()) if n_tokens else 0.0
    dtype = str(model.dtype).removeprefix("torch.")
    good = difference <= MAX_DIFFERENCE[dtype] if dtype in MAX_DIFFERENCE else same_peak >= MIN_SAME_PEAK
    text = f"{n_tokens} rows of {n_heads} heads in {dtype} are those of eager attention within {difference:.1e}"
    return ("ok" if good and n_tokens else "FAIL"), f"{text}, same peak in {same_peak:.0%}"
