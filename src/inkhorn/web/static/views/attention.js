// @ts-check
// Attention weights: arcs over the text for one token, and the map of a whole head.

/** @import { Explanation } from "./explanation.js" */

import { byPointer, make, percent, spoken, svg, visible } from "./dom.js";

const MAX_ARCS = 14;

/** The text with arcs from one token, at first the last one. */
export class AttentionArcs {
  /** @param {(t: number) => void} onSelect called when a token is clicked */
  constructor(onSelect) {
    this.lines = svg("svg", { "aria-hidden": "true" });
    this.text = make("div.tokens");
    this.caption = make("p.caption");
    this.root = make("div.arcs", make("div.overlay", this.text, this.lines), this.caption);
    /** @type {HTMLElement[]} */
    this.spans = [];
    this.last = 0;
    this.shown = 0;
    const indexOf = (/** @type {Event} */ event) => Number(/** @type {HTMLElement} */ (event.target).dataset.t ?? -1);
    this.text.addEventListener("click", (event) => {
      if (indexOf(event) >= 0) onSelect(indexOf(event));
    });
    this.text.addEventListener("pointerover", (event) => this.show(indexOf(event) >= 0 ? indexOf(event) : this.last));
    this.text.addEventListener("pointerleave", () => this.show(this.last));
    new ResizeObserver(() => this.show(this.shown)).observe(this.text);
  }

  /**
   * @param {Explanation} explanation
   * @param {number} head
   */
  set(explanation, head) {
    this.explanation = explanation;
    this.head = head;
    this.last = explanation.size - 1;
    this.spans = explanation.tokens.map((token, t) => {
      const span = make("span", { "data-t": t }, /^<\|.*\|>$/.test(token) || token === "\n" ? visible(token) : token || "…");
      if (token === "\n") span.classList.add("break");
      return span;
    });
    this.text.replaceChildren(...this.spans.flatMap((span) => (span.className ? [span, "\n"] : [span])));
    this.show(this.last);
  }

  /**
   * Show the attention of token t.
   * @param {number} t
   */
  show(t) {
    if (!this.explanation) return;
    this.shown = t;
    const weights = this.explanation.attention(this.head ?? 0, t);
    this.spans.forEach((span, i) => {
      span.style.setProperty("--weight", (weights[i] ?? 0).toFixed(3));
      span.classList.toggle("from", i === t);
    });
    const strongest = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, MAX_ARCS);
    this.lines.setAttribute("viewBox", `0 0 ${this.text.clientWidth} ${this.text.clientHeight}`);
    this.lines.replaceChildren(...strongest.filter((i) => i !== t && weights[i] > 0.015).map((i) => this.arc(i, t, weights[i])));
    this.caption.replaceChildren(...this.describe(this.explanation.tokens, t, weights, strongest.slice(0, 3)));
  }

  /**
   * @param {number} i
   * @param {number} t
   * @param {number} weight
   */
  arc(i, t, weight) {
    const top = (/** @type {HTMLElement} */ span) => [span.offsetLeft + span.offsetWidth / 2, span.offsetTop + 3];
    const [x1, y1] = top(this.spans[t]);
    const [x2, y2] = top(this.spans[i]);
    const rise = Math.min(y1, y2) - Math.min(26, 6 + Math.abs(x1 - x2) / 6);
    const path = y1 === y2 ? `M${x1} ${y1}C${x1} ${rise} ${x2} ${rise} ${x2} ${y2}` : `M${x1} ${y1}Q${(x1 + x2) / 2 + 24} ${(y1 + y2) / 2 - 16} ${x2} ${y2}`;
    return svg("path", { d: path, "stroke-width": (1 + 5 * weight).toFixed(1), opacity: (0.3 + 0.7 * weight).toFixed(2) });
  }

  /**
   * @param {string[]} tokens
   * @param {number} t
   * @param {Float32Array} weights
   * @param {number[]} strongest
   */
  describe(tokens, t, weights, strongest) {
    const parts = strongest.filter((i, rank) => rank === 0 || weights[i] >= 0.01).map((i) => `${i === t ? "itself" : `${visible(tokens[i])} ${distance(t - i)}`} (${percent(weights[i])})`);
    return [make("b", visible(tokens[t])), ` attends most to ${parts.join(", ")}.`];
  }
}

/** @param {number} tokens */
const distance = (tokens) => `${tokens} token${tokens === 1 ? "" : "s"} back`;

/**
 * Paint the weights of one head, row t and column i, in the canvas's text colour: the stronger, the larger.
 * @param {HTMLCanvasElement} canvas
 * @param {Explanation} explanation
 * @param {number} head
 */
export function paintMap(canvas, explanation, head) {
  const { size } = explanation;
  canvas.width = size;
  canvas.height = size;
  const context = canvas.getContext("2d");
  if (!context) return;
  const [red, green, blue] = (getComputedStyle(canvas).color.match(/\d+/g) ?? []).map(Number);
  const image = context.createImageData(size, size);
  for (let t = 0; t < size; t += 1) {
    explanation.attention(head, t).forEach((weight, i) => {
      image.data.set([red, green, blue, 255 * Math.min(1, Math.sqrt(weight) * 1.15)], 4 * (t * size + i));
    });
  }
  context.putImageData(image, 0, 0);
}

/** The map of a head, with a caption that reads the weight under the pointer. */
export class AttentionMap {
  constructor() {
    this.canvas = make("canvas", { role: "img" });
    this.caption = make("p.caption");
    this.root = make("div.map-view", this.canvas, this.caption);
    for (const type of /** @type {const} */ (["pointerdown", "pointermove"])) {
      this.canvas.addEventListener(type, (event) => this.read(event));
    }
    this.canvas.addEventListener("pointerleave", ({ pointerType }) => pointerType === "touch" || this.resetCaption());
  }

  /**
   * @param {Explanation} explanation
   * @param {number} head
   */
  set(explanation, head) {
    this.explanation = explanation;
    this.head = head;
    paintMap(this.canvas, explanation, head);
    const last = explanation.size - 1;
    const weights = explanation.attention(head, last);
    const most = weights.indexOf(Math.max(...weights));
    this.canvas.setAttribute("aria-label", `Attention map of layer ${explanation.layer + 1}, head ${head + 1}, over ${explanation.size} tokens. `
      + `The last token, ${spoken(explanation.tokens[last])}, attends most to ${most === last ? "itself" : `${spoken(explanation.tokens[most])}, ${distance(last - most)}`}.`);
    this.resetCaption();
  }

  resetCaption() {
    const size = this.explanation?.size;
    this.caption.replaceChildren(`${size} × ${size} weights. `, ...byPointer("Hover over", "Tap"), " the map to read them.");
  }

  /** @param {PointerEvent} event */
  read(event) {
    if (!this.explanation) return;
    const box = this.canvas.getBoundingClientRect();
    const { size, tokens } = this.explanation;
    const index = (/** @type {number} */ at, /** @type {number} */ length) => Math.max(0, Math.min(size - 1, Math.floor((at / length) * size)));
    const i = index(event.clientX - box.left, box.width);
    const t = index(event.clientY - box.top, box.height);
    this.caption.textContent = i > t ? "Masked: no token attends to a later one."
      : `${inContext(tokens, t)} attends to ${inContext(tokens, i)}: ${percent(this.explanation.attention(this.head ?? 0, t)[i])}`;
  }
}

/**
 * A token with the few before it.
 * @param {string[]} tokens
 * @param {number} t
 */
const inContext = (tokens, t) => `…${tokens.slice(Math.max(0, t - 7), t).map(visible).join("")}[${visible(tokens[t])}]`;
