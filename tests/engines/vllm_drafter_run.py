"""The `vllm` backend on the embedded model, beside the `transformers` backend: ``vllm_drafter_run.py OUT``.

One process with one engine for all tests; OUT receives the pickled results. The last part kills the engine twice.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from agent.config import AgentConfig, load, preset_path
from agent.errors import UserError
from agent.models import ModelCache
from agent.mt.config import VllmConfig
from agent.mt.drafter import Draft, DraftRequest, StopRule
from agent.mt.translator import Translator
from agent.mt.vllm import DraftCancelledError, VllmDrafter
from agent.paths import PROJECT
from agent.session import Session
from agent.words import Hypothesis, SourceWord

N_SENTENCES, N_SESSIONS = 5, 8
ENGINE = VllmConfig(max_num_seqs=8, max_model_len=1024, compile=False, kv_cache_gib=0.25)


def reference(language: str) -> list[str]:
    return (PROJECT / "demo" / "talks" / f"ref.{language}.txt").read_text(encoding="utf-8").splitlines()


def requests(translator: Translator) -> list[DraftRequest]:
    """Beginnings of translations of the first sentences, of both row conventions."""
    assert translator.selection is not None
    asked = []
    for number, (source, target) in enumerate(zip(reference("en"), reference("de"), strict=True)):
        prompt = translator.layout.build(source.split())
        for convention, n_words in (("predicting", 0), ("own", 0), ("predicting", 2)):
            prefix = translator.encode(" ".join(target.split()[:n_words])) if n_words else ()
            asked.append(
                DraftRequest(
                    prompt.ids, prompt.source_span, prefix, 10, translator.selection.heads, convention, f"{number}"
                )
            )
        if number == N_SENTENCES - 1:
            break
    return asked


def talk(translator: Translator, config: AgentConfig, sentences: Sequence[str], stream: str) -> str:
    """What a session says when the words of the sentences come one by one."""
    session, said, now_s = Session(translator, config.session, stream), [], 0.0
    for sentence in sentences:
        words: list[SourceWord] = []
        for text in sentence.split():
            words.append(SourceWord(text, now_s, now_s + 0.4))
            now_s += 0.4
            said += session.step(Hypothesis((), tuple(words), now_s))
        said += session.step(Hypothesis((tuple(words),), (), now_s))
    session.close()
    return "".join(record.accepted for record in said)


def guessing(asked: Sequence[DraftRequest], expected: Sequence[Draft]) -> list[DraftRequest]:
    """The same requests with guesses: right, wrong at the third token, wrong at once."""
    guesses = [lambda ids: ids, lambda ids: (*ids[:2], 7, *ids[3:]), lambda ids: (7, *ids)]
    return [
        replace(request, guess_ids=guesses[number % 4 % 3](draft.token_ids))
        for number, (request, draft) in enumerate(zip(asked, expected, strict=True))
    ]


def stopping(asked: Sequence[DraftRequest]) -> list[DraftRequest]:
    """The same requests with rules that end drafts of three tokens, or two; the engine wants to end them at once."""
    rules = [
        StopRule(lambda ids, rows: len(ids) >= 3, 0, (1.0,) * len(asked[0].heads)),
        StopRule(lambda ids, rows: len(ids) >= 2, None, ()),
    ]
    return [replace(request, stop=rules[number % 2]) for number, request in enumerate(asked)]


def cancelled(drafter: VllmDrafter, request: DraftRequest) -> str:
    """A draft that would take hundreds of steps, forgotten while it runs."""
    ends, drafter._end_ids = drafter._end_ids, frozenset()
    forgetter = threading.Thread(target=_forget_soon, args=(drafter, "long"))
    forgetter.start()
    try:
        drafter.draft(replace(request, max_new_tokens=800, heads=(), stream="long"))
        return "finished"
    except DraftCancelledError as error:
        return str(error)
    finally:
        drafter._end_ids = ends
        forgetter.join()


def _forget_soon(drafter: VllmDrafter, stream: str) -> None:
    while stream not in drafter._running:
        time.sleep(0.001)
    drafter.forget("another")
    drafter.forget(stream)


def kill_engine() -> None:
    for child in psutil.Process().children(recursive=True):
        if "resource_tracker" not in " ".join(child.cmdline()):
            child.kill()


def killed_while_waited_for(drafter: VllmDrafter) -> float:
    """Seconds of a job that waits for an answer from an engine that is killed meanwhile, and is then run again."""
    engines: list[Any] = []

    async def job(engine: Any) -> None:
        engines.append(engine)
        if len(engines) == 1:
            await asyncio.sleep(1000)

    waiting, start = drafter.engine.run(job), time.monotonic()
    while not engines:
        time.sleep(0.01)
    kill_engine()
    waiting.result()
    return time.monotonic() - start


def at_once(drafter: VllmDrafter, asked: Sequence[DraftRequest]) -> list[Draft]:
    with ThreadPoolExecutor(N_SESSIONS) as pool:
        return list(pool.map(drafter.draft, asked))


def main() -> None:
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("alignatt").addHandler(handler)
    cache, result = ModelCache(), {}
    config = load(preset_path("ende-low"), {"mt.device": "cpu"})
    fast = replace(config, mt=replace(config.mt, backend="vllm", vllm=ENGINE))
    hf, vllm = cache.translator(config, "en", "de"), cache.translator(fast, "en", "de")
    drafter: Any = vllm.drafter

    asked = requests(hf)
    result["expected"] = [hf.drafter.draft(request) for request in asked]
    result["at once"] = at_once(drafter, asked)  # the engine starts with them
    result["alone"] = [drafter.draft(request) for request in asked]
    prompt = hf.layout.build(" ".join(reference("en")[:6]).split())
    long = replace(asked[0], prompt_ids=prompt.ids, source_span=prompt.source_span)
    result["long"] = [hf.drafter.draft(long), drafter.draft(long), drafter.draft(long)]
    result["guessed"] = at_once(drafter, guessing(asked, result["expected"]))
    result["stopped"] = at_once(drafter, stopping(asked))
    plain = [replace(request, heads=(), guess_ids=()) for request in stopping(asked)]
    result["stopped without rows"] = at_once(drafter, plain)
    result["cancelled"] = cancelled(drafter, asked[0])

    sentences = reference("en")[:2]
    result["talks"] = {
        target: [
            talk(cache.translator(each, "en", target), each, sentences, f"talk-{target}") for each in (config, fast)
        ]
        for target in ("de", "zh")
    }
    with ThreadPoolExecutor(N_SESSIONS) as pool:
        streams = [f"stream-{number}" for number in range(N_SESSIONS)]
        result["sessions"] = list(pool.map(lambda stream: talk(vllm, fast, sentences, stream), streams))

    result["waited in vain"] = killed_while_waited_for(drafter)
    result["after death"] = at_once(drafter, asked)
    result["starts"] = drafter.engine.n_starts
    result["messages"] = list(messages)
    kill_engine()
    try:
        drafter.draft(asked[0])
    except UserError as error:
        result["second death"] = str(error)
    drafter.close()
    drafter.close()
    result["threads"] = [thread.name for thread in threading.enumerate() if "vllm" in thread.name]
    result["children"] = [process.name for process in multiprocessing.active_children()]
    Path(sys.argv[1]).write_bytes(pickle.dumps(result))
    print("true")


if __name__ == "__main__":
    main()
