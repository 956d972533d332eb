"""Submissions: a tarball of real runs passes its own check, and each planted defect is found by its name."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from short_talk import write_beginning

from agent.cli.main import alignatt, simulstream
from agent.paths import PROJECT
from agent.run.settings import Options as Given
from agent.run.settings import resolve
from eval.score import Options, score
from eval.submission import contents
from eval.submission.build import build, entry_of, pack, write_sums
from eval.submission.check import Package, check, unpack
from eval.submission.server import check_server, check_soak


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dev set, one scored run in each regime, and the tarball made of them."""
    folder = tmp_path_factory.mktemp("submission")
    talk = write_beginning(folder / "dev", 3)
    for regime in ("low", "high"):
        run = folder / regime
        eager = ["--set", "policy.margin_words=0", "policy.confirmations=0"] if regime == "low" else []
        assert simulstream(["--preset", f"ende-{regime}", *eager, "--source", str(talk), "--output", str(run)]) == 0
        score(run, Options(references=folder / "dev"))
    build([folder / "high", folder / "low"], "Demo", "no-context", "demo@example.org", folder / "out", None)
    return folder


@pytest.fixture
def package(folder: Path, tmp_path: Path) -> Package:
    """The tarball, unpacked for one test."""
    (tarball,) = (folder / "out").glob("*.tar.gz")
    root = unpack(tarball, tmp_path)
    submission = contents.parse(root / contents.DESCRIPTION)
    return Package(root, submission, folder / "dev" / "audio-segments.yaml", folder / "dev")


def failed(package: Package) -> dict[str, str]:
    """Names and messages of the checks that fail."""
    findings = check(package.root, package.segments, package.references)
    return {finding.check: finding.error for finding in findings if finding.error}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def edits(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A defect that replaces a text in a file of the package."""
    return lambda root: edit(root / name, old, new)


def edits_log(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """A defect that changes the lines of a log."""

    def plant(root: Path) -> None:
        log = root / "en-de/low/simulstream.jsonl"
        log.write_text("".join(change(log.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")

    return plant


def edits_description(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """A defect of submission.json."""

    def plant(root: Path) -> None:
        path = root / contents.DESCRIPTION
        tree = json.loads(path.read_text(encoding="utf-8"))
        change(tree)
        path.write_text(json.dumps(tree), encoding="utf-8")

    return plant


def all_said_at_the_end(lines: list[str]) -> list[str]:
    entries = [json.loads(line) for line in lines]
    steps = [entry for entry in entries if "generated_tokens" in entry]
    late = [token for step in steps for token in step["generated_tokens"]]
    for step in steps:
        step["generated_tokens"] = late if step is steps[-5] else []
    return [json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries]


def better_figures(root: Path) -> None:
    entry = json.loads((root / contents.DESCRIPTION).read_text(encoding="utf-8"))["entries"][0]
    edits_description(lambda tree: tree["entries"][0].update(bleu=entry["bleu"] + 1))(root)
    edit(root / "en-de/README.md", f"BLEU {entry['bleu']:.2f}", f"BLEU {entry['bleu'] + 1:.2f}")


SPHINX = "recogniser: sphinx\n  model: demo/asr\n  max_live_s: 28.0\n  sentence_pause_s: 0.45"
LOG, CONFIG, README = "en-de/low/simulstream.jsonl", "en-de/high/config.yaml", "en-de/README.md"
DEFECTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "changed byte": (edits(LOG, "0.5", "0.6"), "checksums", "changed since"),
    "run missing": (lambda root: shutil.rmtree(root / "en-de/high"), "description", "missing: en-de/high"),
    "half a direction": (edits_description(lambda tree: tree["entries"].pop()), "description", "No run of en-de high"),
    "run twice in log": (edits_log(lambda lines: lines * 2), "log en-de low", "twice (demo-talk-1)"),
    "line doubled": (edits_log(lambda lines: [*lines[:5], *lines[4:]]), "log en-de low", "doubled"),
    "cut off": (edits_log(lambda lines: lines[: len(lines) // 2]), "log en-de low", "the log is cut off"),
    "talk missing": (edits(LOG, "demo-talk-1", "another"), "log en-de low", "lacks 1 of 1 talks"),
    "regime missed": (edits_log(all_said_at_the_end), "figures en-de low", "regime missed"),
    "better figures": (better_figures, "figures en-de low", "bleu is claimed as"),
    "no contact": (edits(README, "demo@example.org", "us"), "readme", "en-de/README.md lacks the contact"),
    "foreign path": (edits(CONFIG, ": demo/model", ": /home/m"), "config en-de high", "mt.model is /home/m"),
    "replayed": (edits(CONFIG, SPHINX, "recogniser: replay"), "config en-de high", "recorded recognition is replayed"),
    "direction": (edits(CONFIG, "lang: de", "lang: it"), "config en-de high", "target_lang it, de is wanted"),
    "space in token": (edits(LOG, '_tokens": ["', '_tokens": ["x\u00a0'), "log en-de low", "holds a space"),
    "no wheel": (edits("Dockerfile", "pip install", "pip"), "docker", "lacks the installation of alignatt_agent"),
    "another server": (edits("Dockerfile", "http ", "ws "), "docker", "lacks simulstream's HTTP server"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "name", "message"), DEFECTS.values(), ids=DEFECTS)
def test_a_planted_defect_is_found_by_its_name(
    package: Package, plant: Callable[[Path], None], name: str, message: str
) -> None:
    plant(package.root)
    if name != "checksums":
        write_sums(package.root)
    found = failed(package)
    assert list(found) == [name]
    assert message in found[name]


@pytest.mark.slow
def test_the_tarball_passes_its_own_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tarball,) = (folder / "out").glob("*.tar.gz")
    dev = ["--references", str(folder / "dev"), "--serve-s", "0"]
    assert alignatt(["submission", "check", str(tarball), *dev]) == 0
    printed = capsys.readouterr()
    assert "10 checks, 0 failed" in printed.err
    assert "FAILED" not in printed.out
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert "Demo_IWSLT26_SIMUL_no-context_primary/en-de/low/simulstream.jsonl" in names


@pytest.mark.slow
def test_the_server_of_the_image_answers_simulstreams_client(package: Package) -> None:
    talk = package.references / "demo-talk-1.flac"
    said = check_server(package, package.submission.entries[0], talk, seconds=8.0)
    assert "100% like the log" in said


@pytest.mark.slow
def test_a_soak_reports_length_time_and_memory(package: Package) -> None:
    talk = package.references / "demo-talk-1.flac"
    assert "0.01 h in" in check_soak(package, package.submission.entries[0], [talk], hours=0.01)


@pytest.mark.slow
def test_the_same_runs_make_the_same_tarball(package: Package, folder: Path) -> None:
    (tarball,) = (folder / "out").glob("*.tar.gz")
    again = pack(package.root, package.root.parent / "again")
    assert again.read_bytes() == tarball.read_bytes()


@pytest.mark.slow
def test_models_and_files_of_ones_own_are_mounted_or_packed(package: Package, folder: Path, tmp_path: Path) -> None:
    own = folder / "own"
    (own / "gemma").mkdir(parents=True)
    heads = PROJECT / "agent" / "head_sets" / "demo-en-de.json"
    shutil.copy(heads, own / "mine-de.json")
    runs = []
    for regime in ("low", "high"):
        shutil.copytree(folder / regime, tmp_path / regime)
        changes = [f"mt.model={own / 'gemma'}", f"mt.head_set={own / 'mine-{tgt}.json'}"]
        settings = resolve(Given(preset=f"ende-{regime}-a40", assignments=tuple(changes)))
        (tmp_path / regime / "config.yaml").write_text(settings.dump(), encoding="utf-8")
        runs.append(tmp_path / regime)
    wheels = [package.root / wheel for wheel in package.submission.wheels]
    root = unpack(build(runs, "Own", "no-context", "own@example.org", tmp_path / "out", wheels), tmp_path / "un")
    config = yaml.safe_load((root / "en-de/low/config.yaml").read_text(encoding="utf-8"))
    assert config["mt"]["model"] == "/weights/gemma"
    assert config["mt"]["head_set"] == "/submission/en-de/low/mine-de.json"
    assert (root / "en-de/low/mine-de.json").read_bytes() == heads.read_bytes()
    readme = (root / "README.md").read_text(encoding="utf-8")
    hub = "Qwen/Qwen3-ASR-1.7B-hf@bcd2b5b7f32b480ab5790554cfa8347f246a14f3 Qwen/Qwen3-ForcedAligner-0.6B-hf@c07281df"
    assert f"alignatt models download {hub}" in readme
    assert "- `/weights/gemma`\n" in readme
    assert "-v /path/to/weights:/weights:ro own_iwslt26" in readme
    assert not [f for f in check(root, package.segments, package.references) if f.error]


@pytest.mark.slow
def test_what_makes_no_submission_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(folder / "low"), str(folder / "high")]

    def refused(*arguments: str) -> str:
        who = ["--team", "Demo", "--contact", "demo@example.org"]
        assert alignatt(["submission", "build", *who, "--output", str(tmp_path / "o"), *arguments]) == 2
        assert not (tmp_path / "o").exists()
        return capsys.readouterr().err

    assert "No run of en-de high" in refused(runs[0])
    assert "More than one run of en-de low" in refused(runs[0], *runs)
    assert "no e-mail address" in refused(*runs, "--contact", "me")
    assert "Did you mean 'context'" in refused(*runs, "--track", "contxt")
    changed = tmp_path / "changed"
    shutil.copytree(folder / "low", changed)
    edit(changed / "simulstream.jsonl", "\n", "\n\n")
    assert "has changed since it was scored" in refused(str(changed), runs[1])
    assert entry_of(folder / "low").regime == "low"


def test_a_tarball_with_paths_outside_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("x", encoding="utf-8")
    with tarfile.open(tmp_path / "Demo.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "x", "../x")
    assert alignatt(["submission", "check", str(tmp_path / "Demo.tar.gz")]) == 1
    assert "FAILED  tarball: Demo.tar.gz holds '../x'" in capsys.readouterr().out
