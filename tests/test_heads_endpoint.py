"""Alignments from an OpenAI-compatible endpoint, against a server of the same protocol in this process."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.cli import alignatt
from agent.errors import UserError
from demo.calibrate import write_corpus
from heads import endpoint
from heads.align import pieces
from heads.corpus import SentencePair
from heads.endpoint import Endpoint, align, question, understand

PAIRS = [
    SentencePair(1, "the old teacher sleeps", "der alte Lehrer schläft"),
    SentencePair(2, "we do see", "wir sehen"),
]


@contextmanager
def serving(answer: Callable[[dict[str, Any]], str | int]) -> Iterator[tuple[Endpoint, list[dict[str, Any]]]]:
    """An endpoint that answers with a text, or with an error code; what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
            said = answer(body)
            code = said if isinstance(said, int) else 200
            text = json.dumps({"choices": [{"message": {"content": said}}]} if code == 200 else {"error": "no"})
            self.send_response(code)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{server.server_port}/v1/", "aligner"), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def diagonal(body: dict[str, Any]) -> str:
    """Links of equal numbers, in a fenced block."""
    lines = body["messages"][1]["content"].splitlines()
    n = min(len(re.findall(r"\d+:", line)) for line in lines)
    return "Here they are:\n```json\n" + json.dumps([[i, i] for i in range(n)]) + "\n```"


def test_pairs_are_asked_in_numbered_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "secret")
    with serving(diagonal) as (server, asked):
        links = align(server, PAIRS)
    assert links[0] == {((0, 3), (0, 3)), ((4, 7), (4, 8)), ((8, 15), (9, 15)), ((16, 22), (16, 23))}
    assert links[1] == {((0, 2), (0, 3)), ((3, 5), (4, 9))}
    assert {request["path"] for request in asked} == {"/v1/chat/completions"}
    assert {request["key"] for request in asked} == {"Bearer secret"}
    assert {request["model"] for request in asked} == {"aligner"}
    texts = {request["messages"][1]["content"] for request in asked}
    assert texts == {
        "Source: 0:the 1:old 2:teacher 3:sleeps\nTarget: 0:der 1:alte 2:Lehrer 3:schläft",
        question(PAIRS[1], pieces(PAIRS[1])),
    }


def test_answers_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    kept = tmp_path / "new" / "answers.jsonl"
    with serving(diagonal) as (server, asked):
        first = align(server, PAIRS[:1], kept=kept)
        kept.write_text(kept.read_text() + '{"key": "cut', encoding="utf-8")
        kept.write_text(kept.read_text() + "\n", encoding="utf-8")
        both = align(server, PAIRS, kept=kept)
        assert len(asked) == 2
        assert both[0] == first[0]
        assert align(server, PAIRS, kept=kept) == both
        assert len(asked) == 2


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_S", (0.0, 0.0))
    replies = iter([503, 429])
    with serving(lambda body: next(replies, None) or diagonal(body)) as (server, asked):
        assert len(align(server, PAIRS[:1])[0]) == 4
        assert len(asked) == 3


@pytest.mark.parametrize(("code", "message"), [(500, "answers 500"), (401, "Put the key into OPENAI_API_KEY")])
def test_a_server_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, code: int, message: str) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_S", (0.0,))
    with serving(lambda body: code) as (server, asked), pytest.raises(UserError, match=message):
        align(server, PAIRS[:1])
    assert len(asked) == (2 if code == 500 else 1)


def test_no_server_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_S", ())
    with serving(diagonal) as (server, _):
        pass
    with pytest.raises(UserError, match="cannot be used as an OpenAI-compatible endpoint"):
        align(server, PAIRS[:1])


@pytest.mark.parametrize(
    ("answer", "n_links"),
    [("[]", 0), ("[[0, 0], [3,3]]", 2), ("[[0,0],[9,9],[-1,0]]", 1), ("none", None), ("[1, 2]", None), ("[[0]]", None)],
)
def test_answers_are_understood_or_not(answer: str, n_links: int | None) -> None:
    links = understand(answer, pieces(PAIRS[0]))
    assert (None if links is None else len(links)) == n_links


def test_a_model_that_chats_is_an_error() -> None:
    with (
        serving(lambda body: "I would love to!") as (server, _),
        pytest.raises(UserError, match="answered 2 of 2 pairs"),
    ):
        align(server, PAIRS)


def test_calibration_takes_the_endpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path, "de", 8, seed=5)
    with serving(diagonal) as (server, asked):
        arguments = [
            "--corpus",
            str(tmp_path / "en-de.en"),
            str(tmp_path / "en-de.de"),
            "--work",
            str(tmp_path / "work"),
        ]
        arguments += [
            "--max-pairs",
            "5",
            "--aligner-url",
            server.url,
            "--aligner-model",
            server.model,
            "-o",
            str(tmp_path / "x.json"),
        ]
        assert alignatt(["heads", "calibrate", *arguments]) == 2
        assert alignatt(["heads", "calibrate", *arguments[:-4], "-o", str(tmp_path / "x.json")]) == 2
    said = capsys.readouterr()
    assert "5 sentence pairs aligned (endpoint, aligner)" in said.out
    assert "3 not asked for" in said.out
    assert "at least 10 aligned sentence pairs" in said.err
    assert "--aligner-url wants --aligner-model" in said.err
    assert len(asked) == 5
    assert len((tmp_path / "work/alignments.jsonl").read_text().splitlines()) == 5
