"""Word alignments from a language model behind an OpenAI-compatible endpoint, which may be one's own vLLM server.

Each pair is one request; answers are kept in a file, so that an interrupted run asks for the rest only.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agent.errors import UserError
from heads.align import Links, Pieces, pieces
from heads.corpus import SentencePair, digest

KEY_VARIABLE = "OPENAI_API_KEY"
TIMEOUT_S = 120.0
PAUSES_S = (1.0, 4.0, 15.0)
"""Waits before a request is tried again, when the server is busy or breaks off."""
AT_ONCE = 8
MIN_UNDERSTOOD = 0.5
INSTRUCTION = (
    "You align the words of a sentence with those of its translation. Both are given as numbered words. Reply with a "
    "JSON list of [source number, target number] pairs and nothing else. Link words that translate each other; leave "
    "out words without a counterpart; a word may have several links."
)


@dataclass(frozen=True)
class Endpoint:
    """Base URL (``http://localhost:8000/v1``) and the model's name there."""

    url: str
    model: str

    def ask(self, text: str) -> str:
        """The answer to one message. UserError when the server cannot be used."""
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}],
        }
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {os.environ[KEY_VARIABLE]}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        for pause_s in (*PAUSES_S, None):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                    return str(json.load(reply)["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                with error:
                    said = " ".join(error.read(200).decode(errors="replace").split())
                if pause_s is None or not (error.code == 429 or error.code >= 500):
                    hint = f" Put the key into {KEY_VARIABLE}." if error.code in (401, 403) else ""
                    raise UserError(f"{address} answers {error.code}: {said}.{hint}") from error
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                if pause_s is None or isinstance(error, (ValueError, KeyError, IndexError, TypeError)):
                    raise UserError(f"{address} cannot be used as an OpenAI-compatible endpoint ({error}).") from error
            time.sleep(pause_s)
        raise AssertionError("unreachable")


def question(pair: SentencePair, parts: Pieces) -> str:
    """The pair with its pieces numbered."""
    sides = (("Source", pair.source, parts.source), ("Target", pair.target, parts.target))
    return "\n".join(
        f"{name}: " + " ".join(f"{n}:{text[a:b]}" for n, (a, b) in enumerate(s)) for name, text, s in sides
    )


def understand(answer: str, parts: Pieces) -> Links | None:
    """The links in an answer; None when it holds no list of number pairs. Numbers outside the sentences are ignored."""
    found = re.search(r"\[\s*(\[.*\])?\s*\]", answer, re.DOTALL)
    try:
        listed: Any = json.loads(found[0]) if found else None
        numbers = [(int(i), int(j)) for i, j in listed]
    except (ValueError, TypeError):
        return None
    inside = [(i, j) for i, j in numbers if 0 <= i < len(parts.source) and 0 <= j < len(parts.target)]
    return frozenset((parts.source[i], parts.target[j]) for i, j in inside)


def align(
    endpoint: Endpoint,
    pairs: Sequence[SentencePair],
    segment: Callable[[str], Sequence[str]] | None = None,
    kept: Path | None = None,
) -> list[Links]:
    """Links of every pair; none where the answer was not understood. ``kept``: file of answers, read and added to.

    UserError when the server cannot be used or half of its answers are not understood.
    """
    split = [pieces(pair, segment) for pair in pairs]
    questions = [question(pair, parts) for pair, parts in zip(pairs, split, strict=True)]
    keys = [digest(f"{endpoint.model}\0{text}".encode()) for text in questions]
    answers = _read(kept)
    todo = {key: text for key, text in zip(keys, questions, strict=True) if key not in answers}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = {pool.submit(endpoint.ask, text): key for key, text in todo.items()}
        try:
            for done in tqdm(as_completed(asked), total=len(asked), desc="aligning", unit="pair", leave=False):
                answers[asked[done]] = done.result()
                _add(kept, asked[done], done.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    links = [understand(answers[key], parts) for key, parts in zip(keys, split, strict=True)]
    understood = sum(found is not None for found in links)
    if understood < MIN_UNDERSTOOD * len(links):
        sample = " ".join(next(answers[key] for key, found in zip(keys, links, strict=True) if found is None).split())
        raise UserError(
            f"{endpoint.model} answered {len(links) - understood} of {len(links)} pairs without a list of links, e.g. "
            f"{sample[:80]!r}; use a larger instruction-tuned model, or eflomal."
        )
    return [found or frozenset() for found in links]


def _read(kept: Path | None) -> dict[str, str]:
    if kept is None or not kept.is_file():
        return {}
    answers = {}
    for line in kept.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            answers[entry["key"]] = entry["answer"]
        except (ValueError, KeyError, TypeError):
            continue  # a line that an interruption cut
    return answers


def _add(kept: Path | None, key: str, answer: str) -> None:
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "answer": answer}, ensure_ascii=False) + "\n")
