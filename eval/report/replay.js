// The replay viewer. Data come from the run's trace (eval/report/replay.py); order of the lists as declared there.

const UNIT = { text: 0, step: 1, sentence: 2, row: 3, peak: 4, why: 5 };
const STEP = { now: 0, sentence: 1, live: 2, accessible: 3, held: 4, heldRow: 5, reason: 6, drafted: 7, computation: 8 };
const SVG = "http://www.w3.org/2000/svg";
const LANES = { source: 34, units: 92, row: 15 };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function clockText(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${String(minutes).padStart(2, "0")}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

class Viewer {
  constructor(runs) {
    this.runs = runs;
    this.run = 0;
    this.time = 0;
    this.playing = false;
    this.chosen = null; // index of a unit, or "held"
    this.audio = new Audio();
    this.audio.preload = "auto";
    this.urls = new Map();
    runs.forEach((run, index) => $("run").append(element("option", { value: index }, run.name)));
    this.listen();
  }

  get talk() { return this.runs[this.run].talks[this.talkIndex]; }

  // ---- what is loaded

  open(run, talkName, time) {
    this.pause();
    this.run = run;
    const talks = this.runs[run].talks;
    this.talkIndex = Math.max(0, talks.findIndex((talk) => talk.name === talkName));
    $("run").value = String(run);
    $("talk").replaceChildren(...talks.map((talk, index) => element("option", { value: index }, talk.name)));
    $("talk").value = String(this.talkIndex);
    $("seek").max = this.talk.duration;
    this.chosen = null;
    this.stepIndex = null;
    this.loadAudio();
    this.times();
    this.seek(time);
  }

  loadAudio() {
    const name = this.talk.name;
    $("silent").hidden = this.talk.audio;
    if (!this.talk.audio) { this.audio.removeAttribute("src"); this.sounding = false; return; }
    if (!this.urls.has(name)) {
      const coded = [...document.querySelectorAll(".sound")].find((sound) => sound.dataset.talk === name).textContent;
      const bytes = Uint8Array.from(atob(coded), (character) => character.charCodeAt(0));
      this.urls.set(name, URL.createObjectURL(new Blob([bytes], { type: "audio/mpeg" })));
    }
    if (this.audio.dataset.talk !== name) { this.audio.src = this.urls.get(name); this.audio.dataset.talk = name; }
    this.sounding = true;
  }

  // When each step's outcome is on screen: at its audio time, or after its computation as well.
  times() {
    const aware = $("aware").checked;
    this.shownAt = this.talk.steps.map((step) => step[STEP.now] + (aware ? step[STEP.computation].reduce((a, b) => a + b, 0) : 0));
    for (let i = 1; i < this.shownAt.length; i++) this.shownAt[i] = Math.max(this.shownAt[i], this.shownAt[i - 1]);
    this.stepIndex = null;
    this.end = Math.max(this.talk.duration, this.shownAt[this.shownAt.length - 1] ?? 0);
    $("seek").max = this.end;
  }

  stepAt(time) {
    let low = 0, high = this.shownAt.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.shownAt[middle] <= time + 1e-6) low = middle + 1; else high = middle;
    }
    return low - 1;
  }

  // ---- time

  seek(time) {
    this.time = Math.min(Math.max(0, time), this.end);
    if (this.sounding) {
      const position = Math.min(this.time, this.talk.duration);
      if (this.audio.readyState > 0) this.audio.currentTime = position;
      else this.audio.addEventListener("loadedmetadata", () => { this.audio.currentTime = position; }, { once: true });
    }
    this.draw();
  }

  play() {
    if (this.time >= this.end - 0.05) this.seek(0);
    this.playing = true;
    $("play").classList.add("on");
    $("play").setAttribute("aria-label", "Pause");
    this.last = performance.now();
    if (this.sounding) {
      this.audio.playbackRate = Number($("speed").value);
      this.audio.play().catch(() => { this.sounding = false; });
    }
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    this.playing = false;
    this.audio.pause();
    $("play").classList.remove("on");
    $("play").setAttribute("aria-label", "Play");
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  tick(now) {
    if (!this.playing) return;
    const ownClock = this.time + ((now - this.last) / 1000) * Number($("speed").value);
    const heard = this.sounding && !this.audio.ended && !this.audio.paused && this.time < this.talk.duration;
    this.time = Math.min(this.end, heard ? this.audio.currentTime : ownClock);
    this.last = now;
    this.draw();
    if (this.time >= this.end) this.pause();
    else requestAnimationFrame((next) => this.tick(next));
  }

  change(direction) {
    const shown = this.stepAt(this.time);
    const said = (step) => this.talk.steps[step][STEP.held] + this.firstUnit(step) + this.talk.steps[step][STEP.live].length;
    let step = shown + direction;
    while (step > 0 && step < this.shownAt.length - 1 && said(step) === said(step - direction)) step += direction;
    if (step < 0) this.seek(0);
    else if (step < this.shownAt.length) this.seek(this.shownAt[step]);
  }

  firstUnit(step) { // units committed before the end of this step
    const units = this.talk.units;
    let low = 0, high = units.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (units[middle][UNIT.step] <= step) low = middle + 1; else high = middle;
    }
    return low;
  }

  // ---- drawing

  draw() {
    const step = this.stepAt(this.time);
    $("clock").textContent = `${clockText(this.time)} / ${clockText(this.end)}`;
    $("seek").value = this.time;
    $("seek").setAttribute("aria-valuetext", clockText(this.time));
    if (step !== this.stepIndex) {
      this.stepIndex = step;
      if (typeof this.chosen === "number" && this.chosen >= this.firstUnit(step)) this.chosen = null;
      if (this.chosen === "held") this.chosen = null;
      this.drawTexts();
      this.drawInspector();
      this.drawnAround = null;
    }
    this.drawLanes();
  }

  current() { return this.stepIndex < 0 ? null : this.talk.steps[this.stepIndex]; }

  row() { // attention of the chosen unit, word id → share
    const step = this.current();
    if (this.chosen === null || !step) return new Map();
    return new Map(this.chosen === "held" ? step[STEP.heldRow] : this.talk.units[this.chosen][UNIT.row]);
  }

  tint(span, id, row) {
    const share = row.get(id);
    if (share) span.style.backgroundColor = `rgba(var(--glow), ${(0.08 + 0.75 * share).toFixed(2)})`;
  }

  drawTexts() {
    const { talk } = this, step = this.current(), row = this.row();
    const gap = talk.cjk ? "" : " ";
    const finished = step ? step[STEP.sentence] : 0;
    const heard = [], said = [];
    const sentences = talk.sentences.slice(0, finished);
    const visible = Math.max(0, finished - 12);
    sentences.slice(visible).forEach((words, offset) => {
      const last = offset + visible === finished - 1 && (!step || step[STEP.live].length === 0);
      heard.push(element("p", last ? { class: "current" } : {}, ...this.wordSpans(words, words.length, row)));
    });
    if (step && step[STEP.live].length) heard.push(element("p", { class: "current" }, ...this.wordSpans(step[STEP.live], this.trusted(step), row)));
    const limit = this.firstUnit(this.stepIndex);
    const bySentence = new Map();
    for (let index = 0; index < limit; index++) {
      const sentence = talk.units[index][UNIT.sentence];
      if (sentence < visible) continue;
      if (!bySentence.has(sentence)) bySentence.set(sentence, []);
      bySentence.get(sentence).push(index);
    }
    if (step && step[STEP.held] && !bySentence.has(finished)) bySentence.set(finished, []);
    const newest = Math.max(-1, ...bySentence.keys());
    for (const [sentence, indices] of [...bySentence].sort((a, b) => a[0] - b[0])) {
      const spans = indices.flatMap((index) => [this.unitSpan(index), gap]);
      if (sentence === newest && step && step[STEP.held] && sentence >= finished) spans.push(this.heldSpan(step));
      said.push(element("p", sentence === newest ? { class: "current" } : {}, ...spans));
    }
    $("said").classList.toggle("cjk", talk.cjk);
    $("heard").replaceChildren(...heard);
    $("said").replaceChildren(...said);
    for (const box of [$("heard"), $("said")]) box.scrollTop = box.scrollHeight;
    this.drawReason(step);
  }

  trusted(step) { // how many live words may be relied on: old enough, less the margin of the policy
    const margin = this.runs[this.run].policy === "alignatt" ? this.runs[this.run].margin || 0 : 0;
    return Math.max(0, step[STEP.accessible] - margin);
  }

  wordSpans(ids, nTrusted, row) {
    return ids.flatMap((id, index) => {
      const span = element("span", { class: index < nTrusted ? "w" : "w fresh", "data-word": id }, this.talk.words[id][0]);
      this.tint(span, id, row);
      return [span, " "];
    });
  }

  unitSpan(index) {
    const unit = this.talk.units[index];
    const fresh = unit[UNIT.step] === this.stepIndex ? " new" : "";
    const chosen = index === this.chosen ? " chosen" : "";
    return element("span", { class: `u${fresh}${chosen}`, "data-unit": index }, unit[UNIT.text]);
  }

  heldSpan(step) {
    return element("span", { class: `u held${this.chosen === "held" ? " chosen" : ""}`, "data-unit": "held" }, `[${step[STEP.held].trim()}]`);
  }

  drawReason(step) {
    if (!step) { $("reason").replaceChildren("Nothing has been heard yet."); return; }
    const last = this.talk.units[this.firstUnit(this.stepIndex) - 1];
    const ended = last && last[UNIT.step] === this.stepIndex && last[UNIT.why];
    const what = ended ? "the sentence had ended, so the rest of it was said" : step[STEP.reason];
    const parts = [element("b", {}, `Step ${this.stepIndex + 1} at ${step[STEP.now].toFixed(2)} s: `), what];
    if (step[STEP.drafted]) parts.push(`; ${step[STEP.drafted]} tokens drafted`);
    const seconds = step[STEP.computation].map((value) => `${(1000 * value).toFixed(0)} ms`);
    parts.push(seconds.length === 2 ? `; ASR ${seconds[0]}, MT ${seconds[1]}` : `; computation ${seconds[0]}`);
    $("reason").replaceChildren(...parts);
  }

  drawInspector() {
    const box = $("inspector"), step = this.current();
    if (this.chosen === null || !step) {
      box.replaceChildren(element("span", { class: "note" }, this.talk.traced
        ? "Point at a translated word to see which source words its attention was on."
        : "This run has no trace: its words are shown when they were emitted, over the reference transcript."));
      return;
    }
    const held = this.chosen === "held";
    const unit = held ? null : this.talk.units[this.chosen];
    const name = held ? step[STEP.held].trim() : unit[UNIT.text];
    const what = held ? ` ${step[STEP.reason]}` : ` said at ${this.shownAt[unit[UNIT.step]].toFixed(2)} s${unit[UNIT.why] ? ", when its sentence had ended" : ""}`;
    const row = [...this.row()].sort((a, b) => b[1] - a[1]).slice(0, 5);
    const lines = row.map(([id, share]) => {
      const bar = element("i");
      bar.style.width = `${Math.max(0.5, 100 * share)}%`;
      const row = element("div", { class: "row" }, element("span", {}, this.talk.words[id][0]), element("span"), element("span", {}, `${(100 * share).toFixed(0)} %`));
      row.children[1].append(bar);
      return row;
    });
    const first = held ? element("span", {}, element("b", {}, `[${name}]`), what) : element("span", {}, element("b", {}, name), what);
    if (!lines.length && this.talk.traced) first.append(". No attention was read for it.");
    box.replaceChildren(first, ...lines);
  }

  choose(unit) {
    if (unit === this.chosen) return;
    this.chosen = unit;
    const row = this.row();
    for (const span of document.querySelectorAll("#said .u")) span.classList.toggle("chosen", span.dataset.unit === String(unit));
    for (const span of document.querySelectorAll("#heard .w")) { span.style.backgroundColor = ""; this.tint(span, Number(span.dataset.word), row); }
    for (const mark of document.querySelectorAll("#lanes [data-unit]")) mark.classList.toggle("chosen", mark.dataset.unit === String(unit));
    this.drawInspector();
  }

  chooseNext(direction) {
    const limit = this.firstUnit(this.stepIndex);
    if (!limit) return;
    const from = typeof this.chosen === "number" ? this.chosen : direction < 0 ? limit : limit - 2;
    this.choose(Math.min(limit - 1, Math.max(0, from + direction)));
    document.querySelector("#said .chosen")?.scrollIntoView({ block: "nearest" });
  }

  // ---- lanes: one axis of time, source words above, target units below where they were said

  scale() { return $("lanes").clientWidth < 600 ? 84 : 116; } // pixels per second

  drawLanes() {
    const svg = $("lanes"), width = svg.clientWidth || 600, perSecond = this.scale(), middle = 0.62 * width;
    const span = width / perSecond;
    if (this.drawnAround === null || this.drawnWidth !== width || Math.abs(this.time - this.drawnAround) > span / 2) {
      this.drawnAround = this.time;
      this.drawnWidth = width;
      this.paintLanes(svg, width, perSecond, this.time - 1.6 * span, this.time + 1.2 * span);
    }
    this.moving.setAttribute("transform", `translate(${(middle - this.time * perSecond).toFixed(1)} 0)`);
    this.line.setAttribute("x1", middle); this.line.setAttribute("x2", middle);
  }

  paintLanes(svg, width, perSecond, from, to) {
    const { talk } = this, step = this.current(), height = svg.clientHeight || 240;
    const group = shape("g", {});
    for (let second = Math.max(0, Math.ceil(from)); second <= Math.min(to, this.end); second++) {
      group.append(shape("line", { class: "tick", x1: second * perSecond, x2: second * perSecond, y1: 18, y2: height }));
      group.append(shape("text", { class: "axis", x: second * perSecond + 3, y: 12 }, clockText(second).slice(0, 5)));
    }
    const finished = step ? step[STEP.sentence] : 0;
    const ids = talk.sentences.slice(0, finished).flat();
    if (step) ids.push(...step[STEP.live]);
    const firstFresh = step ? ids.length - step[STEP.live].length + this.trusted(step) : ids.length;
    const place = new Map();
    ids.forEach((id, index) => {
      const [text, start, end] = talk.words[id];
      place.set(id, end);
      if (end < from || start > to) return;
      const wide = Math.max(4, (end - start) * perSecond - 2);
      group.append(shape("rect", { class: index < firstFresh ? "word" : "word fresh", x: start * perSecond, y: LANES.source - 12, width: wide, height: 18, rx: 3 }));
      const fitting = Math.floor((wide - 4) / 6.1);
      if (fitting > 0) group.append(shape("text", { x: start * perSecond + 3, y: LANES.source + 1 }, text.length > fitting ? text.slice(0, Math.max(1, fitting)) : text));
    });
    group.append(...this.paintUnits(from, perSecond, place, height));
    this.moving = group;
    this.line = shape("line", { class: "now", y1: 0, y2: height });
    svg.replaceChildren(group, this.line, shape("text", { class: "lane", x: width - 6, y: LANES.source + 22 }, "heard ↑"), shape("text", { class: "lane", x: width - 6, y: LANES.units - 8 }, "said ↓"));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  }

  // Each unit at the time it was said, in the first row that is free there; a line from the source word it attended to.
  paintUnits(from, perSecond, place, height) {
    const { talk } = this, limit = this.firstUnit(this.stepIndex), links = shape("g", {}), labels = shape("g", {});
    let first = limit;
    while (first > 0 && this.shownAt[talk.units[first - 1][UNIT.step]] >= from) first--;
    const taken = new Array(Math.max(1, Math.floor((height - LANES.units) / LANES.row))).fill(-Infinity);
    for (let index = first; index < limit; index++) {
      const unit = talk.units[index], left = this.shownAt[unit[UNIT.step]] * perSecond;
      const wide = [...unit[UNIT.text]].reduce((sum, character) => sum + (character.codePointAt(0) > 0x2e7f ? 12.5 : 6.9), 7);
      const free = taken.findIndex((end) => end <= left), row = free < 0 ? taken.indexOf(Math.min(...taken)) : free;
      const x = Math.max(left, taken[row]), y = LANES.units + row * LANES.row + 8;
      taken[row] = x + wide;
      const chosen = index === this.chosen ? " chosen" : "";
      labels.append(shape("text", { class: `unit${unit[UNIT.why] ? " final" : ""}${chosen}`, x: x + 4, y, "data-unit": index }, unit[UNIT.text]));
      if (unit[UNIT.peak] === null) continue;
      const end = (place.get(unit[UNIT.peak]) ?? talk.words[unit[UNIT.peak]][2]) * perSecond - 3;
      const top = LANES.source + 7, bend = (y - top) * 0.55;
      links.append(shape("path", { class: `link${chosen}`, "data-unit": index, d: `M${end} ${top}C${end} ${top + bend} ${x + 2} ${y - bend} ${x + 2} ${y - 4}` }));
    }
    return [links, labels];
  }

  // ---- input

  listen() {
    $("run").addEventListener("change", () => this.open(Number($("run").value), this.talk.name, this.time));
    $("talk").addEventListener("change", () => this.open(this.run, this.runs[this.run].talks[Number($("talk").value)].name, 0));
    $("play").addEventListener("click", () => this.toggle());
    $("back").addEventListener("click", () => { this.pause(); this.change(-1); });
    $("forward").addEventListener("click", () => { this.pause(); this.change(1); });
    $("seek").addEventListener("input", () => this.seek(Number($("seek").value)));
    $("speed").addEventListener("change", () => { this.audio.playbackRate = Number($("speed").value); });
    $("aware").addEventListener("change", () => { this.times(); this.draw(); });
    const pick = (event) => {
      const unit = event.target.closest?.("[data-unit]")?.dataset.unit;
      if (unit !== undefined) this.choose(unit === "held" ? "held" : Number(unit));
    };
    for (const box of [$("said"), $("lanes")]) { box.addEventListener("pointerover", pick); box.addEventListener("click", pick); }
    this.dragLanes($("lanes"));
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("resize", () => { this.drawnAround = null; this.drawTexts(); this.drawLanes(); });
  }

  dragLanes(svg) {
    let from = null;
    svg.addEventListener("pointerdown", (event) => { from = { x: event.clientX, time: this.time }; this.pause(); });
    svg.addEventListener("pointermove", (event) => {
      if (from && Math.abs(event.clientX - from.x) > 3) this.seek(from.time - (event.clientX - from.x) / this.scale());
    });
    for (const name of ["pointerup", "pointerleave", "pointercancel"]) svg.addEventListener(name, () => { from = null; });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input[type=range], select, summary, a")) return;
    const step = (delta) => { const speed = $("speed"); speed.selectedIndex = Math.min(speed.options.length - 1, Math.max(0, speed.selectedIndex + delta)); speed.dispatchEvent(new Event("change")); };
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => { if (event.shiftKey) this.seek(this.time - 5); else { this.pause(); this.change(-1); } },
      ArrowRight: () => { if (event.shiftKey) this.seek(this.time + 5); else { this.pause(); this.change(1); } },
      ",": () => this.chooseNext(-1),
      ".": () => this.chooseNext(1),
      "+": () => step(1),
      "-": () => step(-1),
      Escape: () => this.choose(null),
    };
    if (!(event.key in actions) || (event.key === " " && event.target.closest("button"))) return;
    event.preventDefault();
    actions[event.key]();
  }
}

const viewer = new Viewer([...document.querySelectorAll(".run-data")].map((script) => JSON.parse(script.textContent)));
viewer.open(0, viewer.runs[0].talks[0]?.name, 0);
