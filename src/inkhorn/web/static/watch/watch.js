// @ts-check
// The live page of `inkhorn train --watch`: it reads what the run appends to its files, and draws it.

/** @import { Point, StoredView } from "../views/training.js" */

import { find, formatCount, make, svg } from "../views/dom.js";
import { initTheme } from "../views/theme.js";
import { storedFrame, TrainingView } from "../views/training.js";

const POLL_MS = 2000;
const MAX_POINTS = 500; // of a line
const SAMPLES = 4;

/** @typedef {Record<string, any> & { step: number }} Line of metrics.jsonl or samples.jsonl */

/** The lines of a file to which the run appends. */
class Tail {
  /** @param {string} path */
  constructor(path) {
    this.path = path;
    this.file = "";
    this.offset = 0;
    /** @type {Line[]} */
    this.lines = [];
  }

  /** Read what is new; the run replaces the file when it goes back to an earlier step. */
  async read() {
    const response = await fetch(`${this.path}?file=${this.file}&from=${this.offset}`);
    const [file, start] = (response.headers.get("Inkhorn-File") ?? "").split(" ");
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (file !== this.file || Number(start) !== this.offset) this.lines = [];
    const end = bytes.lastIndexOf(10) + 1; // the last line may be incomplete
    this.file = file;
    this.offset = Number(start) + end;
    for (const text of new TextDecoder().decode(bytes.subarray(0, end)).split("\n")) {
      try {
        if (text) this.lines.push(JSON.parse(text));
      } catch {
        // a line that a killed process left
      }
    }
    return end > 0;
  }
}

initTheme();
const metrics = new Tail("metrics.jsonl");
const samples = new Tail("samples.jsonl");
const view = new TrainingView();
/** @type {Map<number, Promise<StoredView & { prompt: string }>>} */
const views = new Map();
/** @type {Record<string, any>} */
let run = {};
let shown = "";

/**
 * The values of a metric over the steps; of many points the mean of each stretch.
 * @param {string} key
 * @returns {Point[]}
 */
function series(key) {
  const points = metrics.lines.filter((line) => Number.isFinite(line[key])).map((line) => ({ step: line.step, loss: line[key] }));
  const size = Math.ceil(points.length / MAX_POINTS);
  if (size < 2) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size);
    return { step: part[part.length - 1].step, loss: part.reduce((sum, { loss }) => sum + loss, 0) / part.length };
  });
}

/** @param {number} seconds */
function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const minutes = Math.round(seconds / 60);
  if (seconds < 100) return `${Math.round(seconds)} s`;
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @type {(value: number | undefined, digits: number) => string} */
const fixed = (value, digits) => (value === undefined ? "–" : value.toFixed(digits));

function showNumbers() {
  const training = metrics.lines.filter((line) => "train/loss" in line);
  const last = training[training.length - 1];
  const before = training[Math.max(0, training.length - 20)];
  const losses = metrics.lines.filter((line) => Number.isFinite(line["val/loss"])).map((line) => line["val/loss"]);
  const steps = run.train?.steps ?? 0;
  const perStep = last && last !== before ? (last.seconds - before.seconds) / (last.step - before.step) : Number.NaN;
  const rows = {
    [`step of ${formatCount(steps)}`]: last ? formatCount(last.step) : "0",
    "training loss": fixed(last?.["train/loss"], 3),
    "validation loss": fixed(losses[losses.length - 1], 3),
    "best validation loss": losses.length ? fixed(Math.min(...losses), 3) : "–",
    "learning rate": last ? last["train/lr"].toPrecision(2) : "–",
    "tokens per second": last ? formatCount(last["train/tokens_per_sec"]) : "–",
    MFU: last ? `${Math.round(100 * last["train/mfu"])} %` : "–",
    "left, about": last && last.step < steps ? duration((steps - last.step) * perStep) : "–",
  };
  find("#numbers").replaceChildren(...Object.entries(rows).map(([name, value]) => make("div", make("dt", name), make("dd", value))));
}

/**
 * @param {string} title
 * @param {Point[][]} lines the second in another colour
 * @param {boolean} fromZero
 */
function chart(title, lines, fromZero) {
  const wide = !fromZero && innerWidth > 640;
  const [width, height, left] = [wide ? 900 : 440, 220, 52];
  const all = lines.flat();
  const end = Math.max(...all.map(({ step }) => step), 1);
  const values = all.map(({ loss }) => loss);
  const low = fromZero ? 0 : Math.min(...values);
  const high = Math.max(...values, low + 1e-9);
  const x = (/** @type {number} */ step) => left + (step / end) * (width - left - 12);
  const y = (/** @type {number} */ value) => 10 + (1 - (value - low) / (high - low)) * (height - 40);
  const label = (/** @type {number} */ value) => (value >= 1000 ? formatCount(value) : String(Number(value.toPrecision(3))));
  const drawn = lines.flatMap((points, i) => [
    svg("polyline", { class: i ? "other" : "", points: points.map(({ step, loss }) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ") }),
    ...(i || points.length === 1 ? points.map(({ step, loss }) => svg("circle", { class: i ? "other" : "", cx: x(step), cy: y(loss), r: 3 })) : []),
  ]);
  const last = values.length ? label(lines[0][lines[0].length - 1]?.loss ?? 0) : "no values yet";
  return make("figure", make("figcaption", title), make("div.chart",
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} over ${formatCount(end)} steps; now ${last}` },
      ...(all.length ? [low, (low + high) / 2, high] : []).flatMap((value) => [
        svg("line", { x1: left, x2: width, y1: y(value), y2: y(value) }),
        svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, label(value)),
      ]),
      ...[0, end].map((step) => svg("text", { x: x(step), y: height - 8, "text-anchor": step ? "end" : "start" }, formatCount(step))),
      ...drawn)));
}

function showCharts() {
  find("#charts").replaceChildren(
    chart("Loss, nats per token: training (line) and validation (dots)", [series("train/loss"), series("val/loss")], false),
    chart("Learning rate", [series("train/lr")], true),
    chart("Tokens per second", [series("train/tokens_per_sec")], true));
}

function showSamples() {
  const latest = samples.lines.slice(-SAMPLES).reverse();
  find("#samples").hidden = latest.length === 0;
  find("#texts").replaceChildren(...latest.map((sample, i) => make("details", { open: i === 0 },
    make("summary", `Step ${formatCount(sample.step)}, validation loss ${fixed(sample["val/loss"], 3)}`),
    make("p.sample-text", sample.text))));
}

/** Load the snapshots as they arrive: they stay when the process has ended. */
async function showSnapshots() {
  /** @type {Point[]} */
  const snapshots = await (await fetch("snapshots.json")).json();
  const ready = await Promise.all(snapshots.map(async ({ step }) => {
    if (!views.has(step)) views.set(step, fetch(`snapshots/${step}.json`).then((response) => response.json()));
    return views.get(step)?.catch(() => {
      views.delete(step);
    });
  }));
  const present = snapshots.filter((_, i) => ready[i]);
  const key = present.map(({ step }) => step).join();
  if (!present.length || key === shown) return;
  shown = key;
  find("#slider").hidden = false;
  if (!view.root.isConnected) find("#slider").append(view.root);
  const prompt = ready.find(Boolean)?.prompt ?? "";
  view.open({
    snapshots: present,
    training: series("train/loss"),
    prompt,
    frame: async (step, layer) => storedFrame(await /** @type {Promise<StoredView>} */ (views.get(step)), layer),
  });
}

async function update() {
  const state = find("#state");
  let message = "";
  try {
    run = JSON.parse((await (await fetch("run.json")).text()) || "{}");
    const changed = await metrics.read();
    if (changed || !find("#charts").hasChildNodes()) {
      showNumbers();
      showCharts();
    }
    if (await samples.read()) showSamples();
    await showSnapshots();
    const last = metrics.lines[metrics.lines.length - 1];
    find("#title").textContent = run.corpus ?? "Training";
    message = !last ? "Preparing …" : last.step >= run.train?.steps ? "All steps are done." : "Training …";
  } catch {
    message = "The training process has ended, or cannot be reached. This is its last state; report.html in the run’s folder has all of it.";
  }
  if (state.textContent !== message) state.textContent = message;
  setTimeout(update, POLL_MS);
}

update();
