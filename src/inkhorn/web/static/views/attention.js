// Where a token looks: arcs over the text, and the map of a whole head.

import { draw, make, percent, spoken, visible } from "./dom.js";

const MOST_ARCS = 14;

/** The text with arcs from its last token; onPick(t) when another token is pressed. */
export class Arcs {
  constructor(onPick) {
    this.lines = draw("svg", { "aria-hidden": "true" });
    this.text = make("div.strip");
    this.caption = make("p.reading");
    this.root = make("div.arcs", make("div.over", this.text, this.lines), this.caption);
    this.text.addEventListener("click", ({ target }) => {
      if (target.dataset.t) onPick(Number(target.dataset.t));
    });
    this.text.addEventListener("pointerover", ({ target }) => this.show(target.dataset.t ? Number(target.dataset.t) : this.last));
    this.text.addEventListener("pointerleave", () => this.show(this.last));
    new ResizeObserver(() => this.spans && this.show(this.at)).observe(this.text);
  }

  set(explanation, head) {
    this.explanation = explanation;
    this.head = head;
    this.last = explanation.size - 1;
    this.spans = explanation.tokens.map((token, t) => {
      const span = make("span", { "data-t": t }, token === "\n" ? "↵" : token);
      if (token === "\n") span.classList.add("break");
      return span;
    });
    this.text.replaceChildren(...this.spans.flatMap((span) => (span.className ? [span, "\n"] : [span])));
    this.show(this.last);
  }

  /** Arcs from token t. */
  show(t) {
    this.at = t;
    const weights = this.explanation.attention(this.head, t);
    this.spans.forEach((span, i) => {
      span.style.setProperty("--weight", (weights[i] ?? 0).toFixed(3));
      span.classList.toggle("from", i === t);
    });
    const strongest = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, MOST_ARCS);
    this.lines.setAttribute("viewBox", `0 0 ${this.text.clientWidth} ${this.text.clientHeight}`);
    this.lines.replaceChildren(...strongest.filter((i) => i !== t && weights[i] > 0.015).map((i) => this.arc(i, t, weights[i])));
    this.caption.replaceChildren(...this.said(t, weights, strongest.slice(0, 3)));
  }

  arc(i, t, weight) {
    const top = (span) => [span.offsetLeft + span.offsetWidth / 2, span.offsetTop + 3];
    const [x1, y1] = top(this.spans[t]);
    const [x2, y2] = top(this.spans[i]);
    const rise = Math.min(y1, y2) - Math.min(26, 6 + Math.abs(x1 - x2) / 6);
    const path = y1 === y2 ? `M${x1} ${y1}C${x1} ${rise} ${x2} ${rise} ${x2} ${y2}` : `M${x1} ${y1}Q${(x1 + x2) / 2 + 24} ${(y1 + y2) / 2 - 16} ${x2} ${y2}`;
    return draw("path", { d: path, "stroke-width": (1 + 5 * weight).toFixed(1), opacity: (0.3 + 0.7 * weight).toFixed(2) });
  }

  said(t, weights, strongest) {
    const { tokens } = this.explanation;
    const parts = strongest.map((i) => `${i === t ? "itself" : `${visible(tokens[i])}${t - i > 1 ? ` ${t - i} before` : " just before"}`} ${percent(weights[i])}`);
    return [make("b", visible(tokens[t])), ` looks most at ${parts.join(", ")}.`];
  }
}

/** Paint the weights of one head: row t, column i. The colour is the canvas's own, the stronger the more. */
export function paintMap(canvas, explanation, head) {
  const { size } = explanation;
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const [red, green, blue] = getComputedStyle(canvas).color.match(/\d+/g);
  const image = context.createImageData(size, size);
  for (let t = 0; t < size; t += 1) {
    explanation.attention(head, t).forEach((weight, i) => {
      image.data.set([red, green, blue, 255 * Math.min(1, Math.sqrt(weight) * 1.15)], 4 * (t * size + i));
    });
  }
  context.putImageData(image, 0, 0);
}

/** The map of a head with a line below that reads what the pointer is at. */
export class HeadMap {
  constructor() {
    this.canvas = make("canvas", { role: "img" });
    this.caption = make("p.reading");
    this.root = make("div.map-view", this.canvas, this.caption);
    this.canvas.addEventListener("pointermove", (event) => this.read(event));
    this.canvas.addEventListener("pointerleave", () => this.rest());
  }

  set(explanation, head) {
    Object.assign(this, { explanation, head });
    paintMap(this.canvas, explanation, head);
    const last = explanation.size - 1;
    const weights = explanation.attention(head, last);
    const most = weights.indexOf(Math.max(...weights));
    this.canvas.setAttribute("aria-label", `Attention of layer ${explanation.layer + 1}, head ${head + 1}, over ${explanation.size} tokens. `
      + `The last one, ${spoken(explanation.tokens[last])}, looks most at ${most === last ? "itself" : `${spoken(explanation.tokens[most])}, ${last - most} before`}.`);
    this.rest();
  }

  rest() {
    this.caption.textContent = `${this.explanation.size} tokens look at ${this.explanation.size}. Point at the map to read it.`;
  }

  read(event) {
    const box = this.canvas.getBoundingClientRect();
    const { size, tokens } = this.explanation;
    const place = (at, length) => Math.max(0, Math.min(size - 1, Math.floor((at / length) * size)));
    const i = place(event.clientX - box.left, box.width);
    const t = place(event.clientY - box.top, box.height);
    this.caption.textContent = i > t ? "The future: not seen."
      : `${around(tokens, t)} looks at ${around(tokens, i)}: ${percent(this.explanation.attention(this.head, t)[i])}`;
  }
}

/** A token with some of what is before it, so that one knows which it is. */
const around = (tokens, t) => `…${tokens.slice(Math.max(0, t - 7), t).map(visible).join("")}[${visible(tokens[t])}]`;
