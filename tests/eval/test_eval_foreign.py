"""Logs of other systems and damaged inputs: scored as OmniSTEval scores them, or refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from eval_runs import CHINESE, GERMAN, alignatt, chinese_talks, german_talks, write_run, write_simuleval

from agent.errors import UserError
from eval.inputs import quotes
from eval.inputs.log import SIMULEVAL, read_log
from eval.inputs.references import load
from eval.inputs.simuleval import own_elapsed, units_of
from eval.score import Options, Scores, score

KEYS = {
    "BLEU": "bleu",
    "chrF": "chrf",
    "LongYAAL (CU)": "cu_long_yaal_ms",
    "LongYAAL (CA)": "ca_long_yaal_ms",
    "LongLAAL (CU)": "cu_long_laal_ms",
    "LongLAAL (CA)": "ca_long_laal_ms",
}
"""Rows of OmniSTEval's scores.tsv and what we call them."""


def omnisteval(log: Path, references: Path, output: Path, language: str, *options: str) -> dict[str, str]:
    """Figures of OmniSTEval's own command line, as printed."""
    level = ["--char_level", "--bleu_tokenizer", "zh"] if language == "zh" else ["--word_level"]
    command = [
        sys.executable, "-m", "omnisteval.cli", "longform",
        "--speech_segmentation", str(references / "audio-segments.yaml"),
        "--ref_sentences_file", str(references / f"ref.{language}.txt"),
        "--hypothesis_file", str(log), *level, "--lang", language, "--output_folder", str(output), *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    rows = (line.split("\t") for line in (output / "scores.tsv").read_text(encoding="utf-8").splitlines())
    return {name: value for name, value in rows if name in KEYS}


def printed(scores: Scores) -> dict[str, str]:
    return {name: f"{getattr(scores, key):.4f}" for name, key in KEYS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("language", ["de", "zh"])
def test_same_as_omnistevals_command_line(tmp_path: Path, references: Path, language: str) -> None:
    log = write_simuleval(tmp_path / "foreign" / "instances.log", language)
    options = Options(references=references, language=language, log=log, cumulative_elapsed=True)
    scores, _ = score(tmp_path / "scores", options)
    theirs = omnisteval(log, references, tmp_path / "theirs", language, "--fix_simuleval_emission_ca")
    assert printed(scores) == theirs
    talks = german_talks() if language == "de" else {n: [(h, c, [t for t in w if t.strip()]) for h, c, w in s]
                                                     for n, s in chinese_talks().items()}  # fmt: skip
    run = write_run(tmp_path / "run", talks, language)
    scores, _ = score(run, Options(references=references))
    simulstream = ["--hypothesis_format", "simulstream", "--simulstream_config_file", str(run / "config.yaml")]
    log = run / "simulstream.jsonl"
    assert printed(scores) == omnisteval(log, references, tmp_path / "again", language, *simulstream)


def test_a_log_file_wants_a_folder_for_its_scores(
    tmp_path: Path, references: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_simuleval(tmp_path / "foreign" / "instances.log")
    with pytest.raises(UserError, match="name a folder for its scores with --output"):
        alignatt("score", log)
    output = tmp_path / "scores" / "foreign"
    assert alignatt("score", log, "--output", output, "--references", references, "--lang", "de") == 0
    tree = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert (output / tree["log"]).resolve() == log.resolve()
    assert tree["rtf"] is None
    assert "scored in" in capsys.readouterr().out
    assert sorted(path.name for path in log.parent.iterdir()) == ["instances.log"]
    assert alignatt("score", log.parent, "--references", references, "--lang", "de", "--quiet") == 0
    assert (log.parent / "scores.json").is_file()


def test_log_without_computation_times_has_no_ca(tmp_path: Path, references: Path) -> None:
    log = write_simuleval(tmp_path / "foreign" / "instances.log", elapsed=None)
    read = read_log(log)
    assert (read.format, read.timed) == (SIMULEVAL, False)
    assert [(talk.name, talk.audio_s, talk.n_tokens) for talk in read.talks] == [("one", 6.5, 10), ("two", 3.5, 5)]
    scores, _ = score(tmp_path / "scores", Options(references=references, language="de", log=log))
    assert scores.cu_long_yaal_ms == pytest.approx(1183.3333333)
    assert (scores.ca_long_yaal_ms, scores.ca_long_laal_ms, scores.rtf) == (None, None, None)


def test_sums_of_computation_are_suspected(tmp_path: Path, references: Path) -> None:
    entry = {
        "source": "one.wav", "prediction": "Das Haus ist klein.", "delays": [1500, 1500, 2000, 2500],
        "elapsed": [4500, 4500, 6000, 7500],
    }  # fmt: skip
    log = tmp_path / "instances.log"
    log.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    options = Options(references=references, language="de", log=log, talks=("one",))
    assert score(tmp_path / "scores", options)[1][0].endswith("score with --cumulative-elapsed")


def test_own_elapsed_is_never_decreasing() -> None:
    assert own_elapsed([1000, 1000, 2000, 3000], [1500, 1500, 3000, 3900]) == [1500, 1500, 2500, 2900]
    assert own_elapsed([], []) == []


def test_units_with_strange_spaces() -> None:
    assert units_of("Das\u00a0Haus ist", 2, "log") == ["Das\u00a0Haus", "ist"]
    assert units_of("Das\u3000Haus ist", 3, "log") == ["Das", "Haus", "ist"]
    assert units_of("房 子", 3, "log") == ["房", " ", "子"]
    with pytest.raises(UserError, match="log: 5 delays for 2 words or 8 characters"):
        units_of("Das Haus", 5, "log")


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"elapsed": [1.0]}, "line 1: 10 delays but 1 elapsed"),
        ({"source": None}, "line 1: no recording is named"),
        ({"source": "one.wav"}, r"twice \(one\)"),
        ({"delays": [1.0, 2.0, 3.0]}, "line 1: 3 delays for 10 words"),
    ],
)
def test_broken_simuleval_logs(tmp_path: Path, changes: dict[str, Any], pattern: str) -> None:
    log = write_simuleval(tmp_path / "instances.log", **changes)
    with pytest.raises(UserError, match=pattern):
        read_log(log)


def test_subwords_are_joined_by_the_systems_configuration(tmp_path: Path, references: Path) -> None:
    talks = {
        "one": [(1.5, 0.1, ["▁Das", "▁Ha"]), (3.0, 0.1, ["us", "▁ist"]), (4.0, 0.1, ["▁klein", "."])],
        "two": [(1.5, 0.3, ["▁Der", "▁H", "und"])],
    }
    run = write_run(tmp_path / "run", talks)
    with pytest.raises(UserError, match=r"subword tokens \('▁Das'\)"):
        score(run, Options(references=references))
    config = {"target_lang": "de", "latency_unit": "spm", "detokenizer_type": "simuleval"}
    (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    scores, _ = score(run, Options(references=references))
    words = {
        # A word counts as emitted when its last part is.
        "one": [(1.5, 0.1, ["Das"]), (3.0, 0.1, ["Haus", "ist"]), (4.0, 0.1, ["klein."])],
        "two": [(1.5, 0.3, ["Der", "Hund"])],
    }
    expected, _ = score(write_run(tmp_path / "words", words), Options(references=references))
    assert printed(scores) == printed(expected)
    assert scores.rtf == pytest.approx(expected.rtf)


def test_unknown_detokenizer(run: Path, references: Path) -> None:
    (run / "config.yaml").write_text("{target_lang: de, detokenizer_type: hf}", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot join the tokens .*detokenizer_type hf.*hf_model_name"):
        score(run, Options(references=references))


def test_flicker(run: Path, references: Path) -> None:
    assert score(run, Options(references=references))[0].erasure == 0.0
    log = run / "simulstream.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines[3] |= {"deleted_tokens": ["Haus"], "generated_tokens": ["Haus", "ist", "groß."]}
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert score(run, Options(references=references))[0].erasure == pytest.approx(1 / 15)
    lines[3]["deleted_tokens"] = ["Hund"]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(UserError, match=r"talk 'one' at 3 s: the deleted tokens \(Hund…\) are not the last"):
        score(run, Options(references=references))


def test_legacy_figure_cuts_late_words(run: Path, references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: of the first segment only two words come before its end and lag 0.75 s; the others stay 1.25 and 1.3."""
    scores, _ = score(run, Options(references=references))
    assert scores.cu_long_yaal_ms == pytest.approx(1183.3333333)
    assert scores.cu_long_yaal_before_0_1_10_ms == pytest.approx(1100.0)
    assert alignatt("score", run, "--references", references, "--legacy-longyaal") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[4:6] == ["1183", "1100"]


DAMAGED = ['"Das ""Haus"" ist klein.', 'Wir gehen heute in den ""Park""."', '"Der Hund schläft im Garten."']
"""A spreadsheet quoted the first talk's cell; the second talk's quotes are its own."""


def test_spreadsheet_quotes_are_named(run: Path, references: Path) -> None:
    (references / "ref.de.txt").write_text("".join(f"{line}\n" for line in DAMAGED), encoding="utf-8")
    with pytest.raises(UserError, match=r"ref\.de\.txt .*doubled or stray in 2 lines \(1, 2\).*--damaged-references"):
        score(run, Options(references=references))
    segments = references / "audio-segments.yaml"
    assert load(segments, references, "de", "keep").target == tuple(DAMAGED)
    assert load(segments, references, "de", "repair").target == (
        'Das "Haus" ist klein.', 'Wir gehen heute in den "Park".', '"Der Hund schläft im Garten."',
    )  # fmt: skip
    kept, _ = score(run, Options(references=references, damaged="keep"))
    repaired, _ = score(run, Options(references=references, damaged="repair"))
    assert kept.bleu < repaired.bleu
    assert kept.signature != repaired.signature


def test_sound_references_stay_as_they_are() -> None:
    lines = ['"Ja", sagte er.', 'Er sagte: "Nein."', *GERMAN, *CHINESE]
    assert quotes.repair(lines, ["a"] * len(lines)) == tuple(lines)


def test_inner_spaces_of_references_count_as_omnisteval_counts_them(tmp_path: Path, references: Path) -> None:
    lines = ["Das\u00a0Haus\u00a0ist klein. ", *GERMAN[1:]]
    (references / "ref.de.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    loaded = load(references / "audio-segments.yaml", references, "de")
    assert loaded.target[0] == "Das\u00a0Haus\u00a0ist klein."
