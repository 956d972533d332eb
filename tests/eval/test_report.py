"""The report: data from real runs of the embedded model, and the page in a real browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest
from browser import Page, chromium, find_chromium
from eval_runs import alignatt, german_talks, write_run, write_simuleval
from short_talk import write_beginning

from agent.cli.main import simulstream
from agent.errors import UserError
from agent.run.folder import LOG, SCORES, TRACE, read_trace
from eval.inputs.log import read_log
from eval.report import build, data
from eval.report.budget import budget
from eval.report.replay import from_log, from_trace

SECONDS = 13.68
"""Two sentences of the first demo talk."""
RUNS = [f"en{target}-{regime}" for target in ("de", "it", "zh") for regime in ("low", "high")]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six scored runs of the embedded model: three directions, both regimes."""
    folder = tmp_path_factory.mktemp("report")
    talk = write_beginning(folder / "references", 2)
    for name in RUNS:
        output = str(folder / name)
        assert simulstream(["--source", str(talk), "--tgt-lang", name[2:4], "--preset", name, "--output", output]) == 0
        assert alignatt("score", output, "--references", talk.parent, "--quiet") == 0
    return [folder / name for name in RUNS]


@pytest.fixture(scope="module")
def page_file(runs: list[Path]) -> Path:
    output = runs[0].parent / "report.html"
    assert alignatt("report", *runs, "-o", output) == 0
    return output


def test_replay_says_what_the_log_says(runs: list[Path]) -> None:
    for run in runs:
        (lines,) = read_trace(run / TRACE).values()
        replay = from_trace("demo-talk-1", lines, 1)
        tokens = [t for step in read_log(run / LOG).talks[0].steps for t in step["generated_tokens"]]
        assert "".join(unit.text for unit in replay.units).replace(" ", "") == "".join(tokens).replace(" ", "")
        assert replay.duration_s == pytest.approx(SECONDS, abs=0.01)
        assert len(replay.sentences) == 2
        assert [unit.step for unit in replay.units] == sorted(unit.step for unit in replay.units)
        attended = [unit for unit in replay.units if unit.peak is not None]
        assert len(attended) > 5
        for unit in attended:
            text, start_s, _ = replay.words[unit.peak or 0]
            assert text
            assert start_s <= replay.steps[unit.step].now_s


def test_budget_adds_up_to_the_mean_delay(runs: list[Path]) -> None:
    (lines,) = read_trace(runs[0] / TRACE).values()
    replay = from_trace("demo-talk-1", lines, 1)
    found = budget([replay])
    assert found is not None
    assert found.n_units == len(replay.units)
    total = 0.0
    for sentence, words in enumerate(replay.sentences):
        units = [unit for unit in replay.units if unit.sentence == sentence]
        for index, unit in enumerate(units):
            due = words[min(len(words) - 1, (index + 1) * len(words) // len(units))]
            total += replay.steps[unit.step].now_s - replay.words[due][2]
    parts = found.ahead_s + found.audio_s + found.recogniser_s + found.policy_s
    assert parts == pytest.approx(total / len(replay.units))
    computed = [sum(lines[unit.step]["stages_s"].values()) for unit in replay.units]
    stages = [found.wait_s, found.asr_s, found.align_s, found.prefill_s, found.decode_s, found.rest_s]
    assert sum(stages) == pytest.approx(sum(computed) / len(computed), abs=1e-4)
    assert min(found.prefill_s, found.decode_s, found.rest_s) > 0
    for line in lines:
        del line["stages_s"]
    before = budget([from_trace("demo-talk-1", lines, 1)])
    assert before is not None
    assert (before.prefill_s, before.decode_s) == (0.0, 0.0)
    assert before.rest_s > 0
    assert budget([]) is None


def test_audio_keeps_its_length(runs: list[Path]) -> None:
    sound = build.mp3(runs[0].parent / "references" / "demo-talk-1.flac")
    with av.open(io.BytesIO(sound)) as container:
        n_samples = sum(frame.samples for frame in container.decode(audio=0))
    assert n_samples / 16_000 == pytest.approx(SECONDS, abs=0.15)
    assert len(sound) < 1.1 * SECONDS * 32_000 / 8 + 2_000


class Outline(HTMLParser):
    """Tags left open and references to other files."""

    VOID = frozenset({"meta", "input", "link", "br", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID and tag not in {"path", "use", "stop", "rect", "line"}:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_page_is_complete_and_self_contained(page_file: Path) -> None:
    html = page_file.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(html)
    assert outline.open == []
    assert all(link.startswith("#") for link in outline.links)
    assert len(re.findall(r'class="run-data"', html)) == len(RUNS)
    for run in RUNS:
        signature = json.loads((page_file.parent / run / SCORES).read_text(encoding="utf-8"))["signature"]
        assert signature in html
    assert html.count('class="sound"') == 1
    plots = sorted(path.name for path in page_file.parent.glob("report-*"))
    assert len(plots) == 2 * 4 * 3
    for name in plots:
        content = (page_file.parent / name).read_bytes()
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")
        else:
            ElementTree.fromstring(content)


def test_page_is_the_same_again(runs: list[Path], tmp_path: Path) -> None:
    pages = [tmp_path / "first.html", tmp_path / "second.html"]
    for output in pages:
        alignatt("report", runs[0], "-o", output, "--no-audio")
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_names_and_texts_cannot_break_out(tmp_path: Path, references: Path) -> None:
    evil = "</script><script>alert(1)</script><!--$x$"
    talks = german_talks() | {"one": [(1.5, 0.1, ["Das", evil]), (6.5, 0.1, ["Ende."])]}
    run = write_run(tmp_path / "run$a_b$&<b>", talks)
    alignatt("score", run, "--references", references, "--quiet")
    output = tmp_path / "r.html"
    assert alignatt("report", run, "-o", output, "--title", "<i>T</i>") == 0
    html = output.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<i>T" not in html
    assert "<b>" not in html.split("<body>")[1].split("How to read")[0]
    assert html.count("</script>") == 2


def test_runs_without_traces_are_replayed_from_their_logs(tmp_path: Path, references: Path) -> None:
    log = write_simuleval(tmp_path / "foreign" / "instances.log")
    scores = tmp_path / "scores"
    alignatt("score", log, "--output", scores, "--references", references, "--lang", "de", "--quiet")
    (group,) = data.gather([scores])
    replay = group.runs[0].replays[0]
    assert not replay.traced
    assert [unit.text for unit in replay.units][:3] == ["Das", "Haus", "ist"]
    assert replay.words[0] == ("The house is small.", 0.5, 2.5)
    assert group.runs[0].budget is None
    assert group.anchors == []
    assert alignatt("report", scores, "-o", tmp_path / "r.html") == 0
    assert {path.stem for path in tmp_path.glob("r-*.svg")} == {
        f"r-en-de-{plot}" for plot in ("bleu", "chrf", "computation")
    }


def test_taken_back_words_are_gone_from_the_replay(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"one": [(1.0, 0.1, ["Das", "Hau"]), (2.0, 0.1, ["Haus"])], "two": []})
    path = run / LOG
    path.write_text(path.read_text().replace('["Haus"], "deleted_tokens": []', '["Haus"], "deleted_tokens": ["Hau"]'))
    replay = from_log(read_log(path).talks[0], "de", [])
    assert [unit.text for unit in replay.units] == ["Das", "Haus"]


def test_published_results_are_shown_only_on_their_own_talks(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (group,) = data.gather(runs[:1])
    assert group.anchors == []
    published = data.read_anchors()
    assert len(published["rows"]) == 22
    own = published | {"talks_sha256": hashlib.sha256(b"demo-talk-1").hexdigest()}
    monkeypatch.setattr(data, "read_anchors", lambda: own)
    assert {row["direction"] for row in group.anchors} == {"en-de"}
    names = [point.name for point in data.points(group, "bleu")]
    assert names[0] == "ende-low"
    assert "organisers' baseline chunk 640 ms" in names
    assert "AlignAtt4LLM offline offline" not in names


def test_refusals(runs: list[Path]) -> None:
    with pytest.raises(UserError, match=r"a file that ends in \.html"):
        alignatt("report", runs[0], "-o", "report.pdf")
    with pytest.raises(UserError, match=r"nowhere has no scores\.json"):
        alignatt("report", runs[0], "nowhere")


def test_audio_that_has_moved_is_named(tmp_path: Path, runs: list[Path]) -> None:
    (group,) = data.gather(runs[:1])
    run = group.runs[0]
    run.manifest["sources"][0]["path"] = str(tmp_path / "gone.flac")
    sounds, remarks = build.embed_audio([run], build.Options())
    assert (sounds, remarks[0][:30]) == ({}, "no audio found for demo-talk-1")
    sounds, remarks = build.embed_audio([run], build.Options(audio_folder=runs[0].parent / "references"))
    assert base64.b64decode(sounds["demo-talk-1"])[:2] in (b"ID", b"\xff\xf3", b"\xff\xfb")
    assert remarks == []
    assert build.embed_audio([run], build.Options(audio=False)) == ({}, [])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if find_chromium() is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(page_file: Path, browser: Page) -> Iterator[Page]:
    """The report, freshly loaded; afterwards: nothing went wrong, nothing was fetched."""
    browser.size(1280, 900)
    browser.problems.clear()
    browser.requests.clear()
    browser.open(page_file.as_uri())
    yield browser
    assert browser.problems == []
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "blob", "data"}
    assert sum(url.startswith("file") for url in browser.requests) == 1


def said(page: Page) -> str:
    return str(page.run("document.querySelector('#said').textContent"))


@pytest.mark.browser
def test_replay_by_keyboard(page: Page) -> None:
    assert said(page) == ""
    page.run("viewer.seek(viewer.end)")
    everything = said(page)
    assert len(everything.split()) > 15
    page.run("viewer.seek(0)")
    seen = []
    while page.run("viewer.time < viewer.end - 0.01") and len(seen) < 100:
        page.press("ArrowRight")
        seen.append(said(page))
    assert len(set(seen)) > 8
    assert seen[-1] == everything
    page.press("ArrowLeft")
    assert page.run("viewer.time") < page.run("viewer.end")
    page.run("viewer.seek(6)")
    page.press("ArrowRight", shift=True)
    assert page.run("viewer.time") == pytest.approx(11.0)
    page.press(",")
    chosen = page.run("document.querySelector('#said .chosen').textContent")
    page.press(",")
    assert page.run("document.querySelector('#said .chosen').textContent") != chosen
    page.press("Escape")
    assert page.run("document.querySelector('#said .chosen')") is None
    page.press("+")
    assert page.run("document.querySelector('#speed').value") == "1.5"


@pytest.mark.browser
def test_replay_plays_its_audio(page: Page) -> None:
    page.press(" ")
    page.wait("viewer.audio.currentTime > 0.5 && viewer.time > 0.5")
    page.press(" ")
    assert page.run("viewer.playing") is False
    at = page.run("viewer.time")
    page.run("new Promise((done) => setTimeout(done, 150))")
    assert page.run("viewer.time") == at
    page.run("viewer.seek(viewer.end - 0.3)")
    page.press(" ")
    page.wait("!viewer.playing && viewer.time >= viewer.end")


@pytest.mark.browser
def test_attention_of_the_word_under_the_pointer(page: Page) -> None:
    page.run("viewer.seek(4)")
    index = page.run("viewer.talk.units.findIndex((unit) => unit[3].length && unit[1] <= viewer.stepIndex)")
    place = page.run(
        f"(() => {{ const word = document.querySelector('#said [data-unit=\"{index}\"]');"
        "word.scrollIntoView({ block: 'center', behavior: 'instant' }); const box = word.getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    page.wait("document.querySelector('#said .chosen') !== null")
    unit = page.run(f"viewer.talk.units[{index}]")
    inspector = page.run("document.querySelector('#inspector').textContent")
    peak = page.run(f"viewer.talk.words[viewer.talk.units[{index}][4]][0]")
    assert unit[0] in inspector
    assert peak in inspector
    assert "%" in inspector
    tinted = page.run("[...document.querySelectorAll('#heard .w')].filter((w) => w.style.backgroundColor).length")
    assert tinted >= 1
    assert page.run(f"document.querySelector('#lanes .link.chosen').dataset.unit === '{index}'")


@pytest.mark.browser
def test_runs_tabs_and_worst_segments(page: Page) -> None:
    page.run("document.querySelector('[data-tab=\"2\"]').click()")
    assert page.run("document.querySelector('#results .group.shown h2').textContent") == "en-zh: results"
    page.run("document.querySelector('#details .group.shown .jump').click()")
    assert page.run("document.querySelector('#run').selectedOptions[0].textContent") == "enzh-low"
    assert page.run("viewer.time") > 0.4
    page.run("viewer.seek(viewer.end)")
    assert re.search(r"[\u4e00-\u9fff]{5}", said(page))
    page.run("document.querySelector('#aware').click()")
    assert page.run("viewer.shownAt.every((at, i) => at > viewer.talk.steps[i][0])")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, True), (1280, False), (390, False), (390, True)])
def test_light_dark_and_phone(page: Page, width: int, dark: bool) -> None:
    page.size(width, 844, mobile=width < 500, dark=dark)
    page.wait(f"innerWidth === {width}")
    assert page.run("document.documentElement.scrollWidth") <= width

    def brightness(of: str, what: str) -> float:
        colour = page.run(f"getComputedStyle(document.querySelector('{of}')).{what}")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    assert (brightness("body", "backgroundColor") < 60) == dark
    assert abs(brightness("body", "backgroundColor") - brightness("body", "color")) > 150
    assert (brightness("figure svg text", "fill") > 140) == dark
    page.run("document.querySelector('#theme').click()")
    assert (brightness("body", "backgroundColor") < 60) != dark
