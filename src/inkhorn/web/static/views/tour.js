// How this works, step by step in the order of the forward pass, on the numbers of the text that stands on the page; on
// those of an example as long as there is none.

import { Arcs } from "./attention.js";
import { choice } from "./radio_group.js";
import { odds, roll } from "./draw.js";
import { find, make, percent, visible } from "./dom.js";
import { Explainer, Explanation } from "./explanation.js";
import { bars, lensTable } from "./logit_lens.js";
import { panel } from "./panels.js";
import { cells, residualChart } from "./residual.js";

const STEPS = ["embedding", "attention", "mlp", "residual", "head", "sampling"];
const NAMES = ["Embedding", "Attention", "MLP", "Residual stream", "Head", "Sampling"];

export class Tour {
  constructor(root, client) {
    this.client = client;
    this.at = this.layer = this.head = 0;
    this.source = make("p.source");
    this.body = make("div.step", { tabIndex: -1, "aria-live": "off" });
    this.back = make("button", { type: "button", onclick: () => this.go(this.at - 1) }, "‹ Back");
    this.forth = make("button", { type: "button", className: "main", onclick: () => this.next() }, "Next ›");
    this.steps = NAMES.map((name, i) => make("button", { type: "button", onclick: () => this.go(i) }, `${i + 1}. ${name}`));
    root.append(
      make("header", make("h2", "How this works"),
        make("p", "A GPT reads a text and tells which token may come next. That is all it does; here is how, in six steps, for the last token of a text."),
        this.source),
      make("nav", { "aria-label": "Steps" }, make("ol.steps", ...this.steps.map((step) => make("li", step)))),
      this.body,
      make("p.acts", this.back, this.forth));
  }

  /** `live` is {model, text, temperature}, or nothing. */
  async open(live) {
    this.live = live;
    this.explainer = live && new Explainer(this.client());
    this.known ??= live ? null : await this.example();
    const whose = live ? "your text, at its end" : "an example; write something, and they will be those of your text";
    const text = (live ?? this.known).text ?? "";
    this.layer = (live ? live.model.n_layer : this.known.explanations?.length) >> 1; // in the middle heads do most
    this.head = 0;
    this.source.replaceChildren(`The numbers are those of ${whose}: `, make("q", `…${text.slice(-48).replaceAll("\n", " / ")}`));
    await this.show();
  }

  async example() {
    try {
      return await (await fetch("example.json")).json();
    } catch {
      return {}; // told where it is needed
    }
  }

  /** What the model did at the end of the text, in one layer. */
  async explain(layer) {
    if (this.live) return this.explainer.explain({ model: this.live.model.id, text: this.live.text, layer });
    if (!this.known.explanations) throw new Error("The example is not there. Write something first, then come back.");
    const [first, ...others] = this.known.explanations;
    const other = others[layer - 1] ?? {}; // says only in what it differs from the first
    return new Explanation({ ...first, ...other, last: { ...first.last, ...other.last } });
  }

  next() {
    if (this.at < STEPS.length - 1) this.go(this.at + 1);
    else location.hash = "#write";
  }

  async go(at) {
    this.at = Math.max(0, Math.min(STEPS.length - 1, at));
    await this.show();
    this.body.focus({ preventScroll: true });
    if (this.body.getBoundingClientRect().top < 0) this.body.scrollIntoView();
  }

  async show() {
    this.steps.forEach((step, i) => (i === this.at ? step.setAttribute("aria-current", "step") : step.removeAttribute("aria-current")));
    this.back.setAttribute("aria-disabled", String(this.at === 0));
    this.forth.textContent = this.at < STEPS.length - 1 ? "Next ›" : "To the writing ›";
    const name = STEPS[this.at];
    try {
      const explanation = await this.explain(this.layer);
      if (STEPS[this.at] !== name) return;
      this.arcs = null;
      this.body.replaceChildren(panel(name, "h3", ...this[`draw${name[0].toUpperCase()}${name.slice(1)}`](explanation)));
      this.arcs?.set(explanation, this.head);
    } catch (error) {
      this.body.replaceChildren(make("p.fault", { role: "alert" }, `${error.message} `,
        make("button", { type: "button", onclick: () => this.show() }, "Try again")));
    }
  }

  /** Picks "layer" or "head": shown anew, with the focus where it was. */
  picker(what, number) {
    const group = choice(what === "layer" ? "Layer" : "Head", number, this[what], async (value) => {
      this[what] = value;
      await this.show();
      find(`.choice.${what} :checked`, this.body)?.focus();
    });
    group.classList.add(what);
    return group;
  }

  drawEmbedding(explanation) {
    const token = explanation.tokens.at(-1);
    const place = explanation.size;
    return [
      make("p.strip", ...explanation.tokens.slice(-60).map((one) => make("span", visible(one)))),
      make("div.side",
        cells(`what it is: the row of ${visible(token)} in wte`, explanation.last("wte")),
        make("span.plus", { "aria-hidden": "true" }, "+"),
        cells(`where it is: row ${place} of wpe`, explanation.last("wpe"))),
    ];
  }

  drawAttention(explanation) {
    this.arcs = new Arcs(() => {});
    return [make("div.picks", this.picker("layer", explanation.layers), this.picker("head", explanation.heads)), this.arcs.root];
  }

  drawMlp(explanation) {
    const hidden = explanation.last("mlp");
    const most = Math.max(...hidden);
    const awake = hidden.filter((value) => value > 0.1 * most).length;
    return [make("div.picks", this.picker("layer", explanation.layers)),
      cells(`the hidden layer at ${visible(explanation.tokens.at(-1))}`, hidden),
      make("p.reading", `${awake} of ${hidden.length} cells say more than a tenth of what the loudest one says.`)];
  }

  drawResidual(explanation) {
    return [residualChart(explanation)];
  }

  drawHead(explanation) {
    const t = explanation.size - 1;
    return [make("div.side",
      make("div", make("h4", "What it would say after each block"), lensTable(explanation, Math.max(0, t - 1))),
      make("div", make("h4", `What may follow ${visible(explanation.tokens[t])}`), bars(explanation.next)))];
  }

  drawSampling(explanation) {
    const temperature = make("input", { type: "range", id: "tour-temperature", min: 0.1, max: 2, step: 0.05, value: this.live?.temperature || this.known?.request.temperature || 0.8 });
    const top_k = make("input", { type: "range", id: "tour-top-k", min: 1, max: explanation.next.length, step: 1, value: explanation.next.length });
    const said = make("p.reading", { role: "status" });
    const list = make("div");
    const name = make("label", { htmlFor: temperature.id });
    const cut = make("label", { htmlFor: top_k.id });
    let now;
    const show = (drawn) => {
      now = odds(explanation.next, Number(temperature.value), Number(top_k.value));
      name.textContent = `Temperature ${temperature.value}`;
      cut.textContent = `Top-k ${top_k.value}`;
      list.replaceChildren(bars(now, drawn));
    };
    for (const slider of [temperature, top_k]) slider.addEventListener("input", () => show());
    const button = make("button", { type: "button", onclick: () => {
      const [token, probability] = roll(now, Math.random());
      show(token);
      said.textContent = `Drawn: ${visible(token)}, which had ${percent(probability)}.`;
    } }, "Draw one");
    show();
    return [make("div.side", make("div.field", name, temperature, cut, top_k, button, said),
      make("div", make("h4", "The ten likeliest, among themselves"), list))];
  }
}
