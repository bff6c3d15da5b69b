// @ts-check
// A slider over the snapshots of a training run: text, attention, logit lens and loss of one prompt and seed move together.
// The page, the report of a run and the page of `inkhorn train --watch` show it.

/** @import { ExplainResponse } from "../api/client.js" */

import { AttentionArcs, AttentionMap } from "./attention.js";
import { button, formatCount, make, svg } from "./dom.js";
import { Explanation } from "./explanation.js";
import { logitLensTable } from "./logit_lens.js";
import { panel } from "./panels.js";
import { radioGroup } from "./radio_group.js";

const HEIGHT = 200;
const LEFT = 34;
const BOTTOM = 22;
const PLAY_MS = 900; // between snapshots

/**
 * @typedef {{ step: number, loss: number }} Point
 * @typedef {{ text: string, explain: ExplainResponse }} Frame what a snapshot makes of the prompt
 *
 * @typedef {object} Source
 * @property {Point[]} snapshots by step, with their validation loss; at least one
 * @property {Point[]} [training] the training loss
 * @property {string} prompt
 * @property {(step: number, layer: number) => Promise<Frame>} frame
 *
 * @typedef {{ text: string, explain: ExplainResponse, attention: string[] }} StoredView view.json of a snapshot
 */

/**
 * A frame from a stored view.
 * @param {StoredView} view
 * @param {number} layer
 * @returns {Frame}
 */
export const storedFrame = ({ text, explain, attention }, layer) => ({ text, explain: { ...explain, layer, attention: attention[layer] } });

export class TrainingView {
  constructor() {
    this.layer = 0;
    this.head = 0;
    this.token = -1; // the one that the lens predicts; -1: the last
    this.shape = "";
    this.busy = false;
    /** @type {Source | undefined} */
    this.source = undefined;
    /** @type {number | undefined} */
    this.timer = undefined;
    this.position = make("output", { htmlFor: "snapshot" });
    this.slider = make("input", { type: "range", id: "snapshot", min: 0, max: 0, oninput: () => this.move() });
    this.play = button("Play", () => this.togglePlay());
    this.chart = make("div.chart");
    this.text = make("p.snapshot-text");
    this.selectors = make("div.selectors");
    this.arcs = new AttentionArcs((t) => {
      this.token = t;
      this.show();
    });
    this.map = new AttentionMap();
    this.lens = make("div");
    this.error = make("p.error", { role: "alert", hidden: true });
    this.body = make("div",
      make("h3", "The text it writes"), this.text, this.selectors,
      make("div.panels",
        panel("attention", "h3", this.arcs.root, make("p.small", "Choose a token to see what it reads from, and how the model comes to predict it.")),
        panel("map", "h3", this.map.root),
        panel("lens", "h3", this.lens)));
    this.root = make("div.training",
      make("div.position", make("label", { htmlFor: "snapshot" }, "Training: "), this.position, this.play, this.slider),
      this.chart, this.error, this.body);
    addEventListener("themechange", () => this.show());
  }

  /**
   * Show a run. A slider that is at the end stays there if snapshots were added.
   * @param {Source} source
   */
  open(source) {
    const { index, source: before } = this;
    const follows = !before || index === before.snapshots.length - 1;
    this.source = source;
    this.slider.max = String(source.snapshots.length - 1);
    this.slider.value = String(follows ? source.snapshots.length - 1 : index);
    return this.load();
  }

  get index() {
    return Number(this.slider.value);
  }

  /** What is to be shown. */
  get key() {
    return `${this.source?.snapshots[this.index].step} ${this.layer} ${this.source?.prompt}`;
  }

  move() {
    clearInterval(this.timer);
    this.play.textContent = "Play";
    return this.load();
  }

  togglePlay() {
    const playing = this.play.textContent === "Pause";
    clearInterval(this.timer);
    this.play.textContent = playing ? "Play" : "Pause";
    if (playing || !this.source) return;
    const last = this.source.snapshots.length - 1;
    if (this.index === last) this.slider.value = "0";
    this.load();
    this.timer = setInterval(() => {
      if (this.busy) return;
      if (this.index >= last - 1) this.togglePlay();
      this.slider.value = String(this.index + 1);
      this.load();
    }, PLAY_MS);
  }

  /** Move the marker at once, and fill in the rest when it is known. */
  async load() {
    const { source } = this;
    if (!source) return;
    this.showPosition(source);
    if (this.busy) return;
    this.busy = true;
    this.body.setAttribute("aria-busy", "true");
    try {
      for (let key = ""; key !== this.key;) {
        key = this.key;
        const { snapshots, prompt, frame } = /** @type {Source} */ (this.source);
        const { text, explain } = await frame(snapshots[this.index].step, this.layer);
        if (key !== this.key) continue;
        this.explanation = new Explanation(explain);
        this.text.replaceChildren(make("span.prompt", prompt), text);
        this.show();
      }
      this.error.hidden = true;
    } catch (error) {
      this.error.replaceChildren(`${error.message} `, button("Try again", () => this.load()));
      this.error.hidden = false;
    }
    this.busy = false;
    this.body.removeAttribute("aria-busy");
  }

  show() {
    const { explanation } = this;
    if (!explanation) return;
    this.showSelectors(explanation);
    const token = this.token >= 0 && this.token < explanation.size ? this.token : explanation.size - 1;
    this.arcs.set(explanation, this.head);
    this.arcs.last = token; // it stays the same over the run
    this.arcs.show(token);
    this.map.set(explanation, this.head);
    this.lens.replaceChildren(token > 0 ? logitLensTable(explanation, token - 1) : make("p", "There is no prediction for the first token."));
  }

  /** @param {Explanation} explanation */
  showSelectors({ layers, heads }) {
    const shape = `${layers} ${heads}`;
    if (this.shape === shape) return;
    this.shape = shape;
    this.selectors.replaceChildren(
      radioGroup("Layer", layers, this.layer, (layer) => {
        this.layer = layer;
        this.load();
      }),
      radioGroup("Head", heads, this.head, (head) => {
        this.head = head;
        this.show();
      }));
  }

  /** @param {Source} source */
  showPosition({ snapshots, training = [] }) {
    const { step, loss } = snapshots[this.index];
    const last = snapshots[snapshots.length - 1].step;
    const text = `step ${formatCount(step)} of ${formatCount(last)}, validation loss ${loss.toFixed(2)}`;
    this.position.replaceChildren(text);
    this.slider.setAttribute("aria-valuetext", text);
    this.chart.replaceChildren(lossCurve(snapshots, training, this.index));
  }
}

/**
 * The loss over the steps, which are on a logarithmic axis because the snapshots are: training as a line, the snapshots as
 * dots, one of them marked.
 * @param {Point[]} snapshots
 * @param {Point[]} training
 * @param {number} marked index of a snapshot
 */
function lossCurve(snapshots, training, marked) {
  const width = innerWidth < 560 ? 350 : 700;
  const all = [...snapshots, ...training];
  const end = Math.log1p(Math.max(...all.map(({ step }) => step), 1));
  const losses = all.map(({ loss }) => loss);
  const low = Math.min(...losses);
  const range = Math.max(...losses) - low || 1;
  const x = (/** @type {number} */ step) => LEFT + 8 + (Math.log1p(step) / end) * (width - LEFT - 22);
  const y = (/** @type {number} */ loss) => 12 + (1 - (loss - low) / range) * (HEIGHT - BOTTOM - 24);
  const points = (/** @type {Point[]} */ list) => list.map(({ step, loss }) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ");
  const ticks = [0, ...Array.from({ length: 8 }, (_, i) => 10 ** i)].filter((step) => Math.log1p(step) <= end);
  const { step, loss } = snapshots[marked];
  const label = `Loss over the steps, from ${snapshots[0].loss.toFixed(2)} to ${snapshots[snapshots.length - 1].loss.toFixed(2)} nats per token. Marked: step ${step}, ${loss.toFixed(2)}.`;
  return svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
    ...[low, low + range / 2, low + range].flatMap((value) => [
      svg("line", { x1: LEFT, x2: width, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 4, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(1)),
    ]),
    ...ticks.map((tick) => svg("text", { x: x(tick), y: HEIGHT - 5, "text-anchor": "middle" }, formatCount(tick))),
    svg("line", { class: "now", x1: x(step), x2: x(step), y1: 4, y2: HEIGHT - BOTTOM }),
    svg("polyline", { class: "train", points: points(training) }),
    svg("polyline", { points: points(snapshots) }),
    ...snapshots.map((one, i) => svg("circle", { class: i === marked ? "now" : "", cx: x(one.step), cy: y(one.loss), r: i === marked ? 7 : 3 })));
}
