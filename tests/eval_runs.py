"""Logs and references of two short made-up talks, for scoring."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from agent.cli.evaluation import add_parsers

GERMAN = ["Das Haus ist klein.", "Wir gehen heute in den Park.", "Der Hund schläft im Garten."]
ITALIAN = ["La casa è piccola.", "Oggi andiamo al parco.", "Il cane dorme in giardino."]
CHINESE = ["房子很小。", "我们今天去公园。", "狗在花园里睡觉。"]
ENGLISH = ["The house is small.", "We don't go to the park today.", "The dog sleeps in the garden."]
SEGMENTS = [
    {"wav": "one.wav", "offset": 0.5, "duration": 2.0, "speaker_id": "1"},
    {"wav": "one.wav", "offset": 3.0, "duration": 3.0, "speaker_id": "1"},
    {"wav": "two.wav", "offset": 0.0, "duration": 3.0, "speaker_id": "1"},
]
Steps = list[tuple[float, float, list[str]]]
"""Audio heard (s), computation (s), tokens."""


def write_references(folder: Path, segments: list[dict[str, Any]] = SEGMENTS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "audio-segments.yaml").write_text(yaml.safe_dump(segments), encoding="utf-8")
    for language, lines in (("de", GERMAN), ("it", ITALIAN), ("zh", CHINESE), ("en", ENGLISH)):
        (folder / f"ref.{language}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def write_run(folder: Path, talks: dict[str, Steps], language: str = "de", policy: str = "alignatt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = [{"model_loading_time": 9.0}]
    for index, (name, steps) in enumerate(talks.items()):
        lines.append({"id": index, "metadata": {"wav_name": f"/somewhere/{name}.wav"}})
        lines += [
            {
                "id": index,
                "total_audio_processed": heard,
                "computation_time": spent,
                "generated_tokens": tokens,
                "deleted_tokens": [],
            }
            for heard, spent, tokens in steps
        ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "simulstream.jsonl").write_text(text, encoding="utf-8")
    config = {
        "source_lang": "en",
        "target_lang": language,
        "latency_unit": "char" if language == "zh" else "word",
        "detokenizer_type": "simuleval",
        "regime": "low",
        "policy": {"name": policy},
        "mt": {"model": "demo/model", "head_set": "no-such-set"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def german_talks() -> dict[str, Steps]:
    return {
        "one": [
            (1.5, 0.1, ["Das", "Haus"]),
            (3.0, 0.1, ["ist", "groß."]),
            (4.5, 0.2, ["Wir", "gehen"]),
            (6.0, 0.2, []),
            (6.5, 0.4, ["heute", "in", "den", "Park."]),
        ],
        "two": [(1.5, 0.3, ["Der", "Hund"]), (2.9, 0.2, ["schläft", "im"]), (3.5, 0.5, ["Garten."])],
    }


def chinese_talks() -> dict[str, Steps]:
    return {
        "one": [(1.5, 0.1, list("房子")), (3.0, 0.1, list("很大。")), (5.0, 0.2, list("我们今天去"))],
        "two": [(1.5, 0.1, list("狗在")), (3.0, 0.1, list("花园\u3000睡\u00a0觉\n。"))],
    }


def append(path: Path, *entries: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def offline_run(tmp_path: Path, place: str) -> Path:
    talks: dict[str, Steps] = {
        "one": [(6.5, 1.0, [*GERMAN[0].split(), *GERMAN[1].split()])],
        "two": [(3.5, 1.0, GERMAN[2].split())],
    }
    return write_run(tmp_path / place, talks, policy="offline")


def write_simuleval(path: Path, language: str = "de", **changes: Any) -> Path:
    """The talks of the tests as SimulEval would log them, elapsed times adding up."""
    talks = german_talks() if language == "de" else chinese_talks()
    entries = []
    for index, (name, steps) in enumerate(talks.items()):
        delays: list[float] = []
        elapsed: list[float] = []
        spent_s = 0.0
        for heard_s, computed_s, tokens in steps:
            spent_s += computed_s
            delays += [heard_s * 1000] * len(tokens)
            elapsed += [(heard_s + spent_s) * 1000] * len(tokens)
        units = [token for _, _, tokens in steps for token in tokens]
        entries.append(
            {
                "index": index,
                "source": [f"/data/{name}.wav", "samplerate: 16000"],
                "source_length": steps[-1][0] * 1000,
                "prediction": ("" if language == "zh" else " ").join(units).replace("\n", "!"),
                "delays": delays,
                "elapsed": elapsed,
                **changes,
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries), encoding="utf-8")
    return path


def alignatt(*words: str | Path) -> int:
    """The scoring commands, run in this process."""
    parser = argparse.ArgumentParser(prog="alignatt")
    add_parsers(parser.add_subparsers(required=True))
    args = parser.parse_args([str(word) for word in words])
    code: int = args.run(args)
    return code
