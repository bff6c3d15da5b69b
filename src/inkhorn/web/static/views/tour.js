// @ts-check
// The tour: the forward pass step by step, with the activations of the generated text, or of an example.

/** @import { Client, ModelInfo } from "../api/client.js" */
/** @import { Child } from "./dom.js" */

import { AttentionArcs } from "./attention.js";
import { button, find, make, percent, visible } from "./dom.js";
import { draw, rescale } from "./draw.js";
import { Explainer, Explanation } from "./explanation.js";
import { logitLensTable, probabilityBars } from "./logit_lens.js";
import { panel } from "./panels.js";
import { radioGroup } from "./radio_group.js";
import { heatMap, residualChart } from "./residual.js";

/** @typedef {{ model: ModelInfo, text: string, temperature: number, isWhole?: boolean }} GeneratedText isWhole: its prompt was empty */

const EXAMPLE = { max_tokens: 24, temperature: 0.5, seed: 4 };

export class Tour {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.index = 0;
    this.name = ""; // of the step that is shown
    this.layer = 0;
    this.head = 0;
    /** @type {GeneratedText | undefined} */
    this.shown = undefined;
    /** @type {Explainer | undefined} */
    this.explainer = undefined;
    /** @type {AttentionArcs | null} */
    this.arcs = null;
    this.steps = /** @type {const} */ ([
      { name: "embedding", title: "Embedding", content: this.embedding },
      { name: "attention", title: "Attention", content: this.attention },
      { name: "mlp", title: "MLP", content: this.mlp },
      { name: "residual", title: "Residual stream", content: this.residual },
      { name: "head", title: "Output head", content: this.outputHead },
      { name: "sampling", title: "Sampling", content: this.sampling },
    ]);
    this.source = make("p.source");
    this.body = make("div.step", { tabIndex: -1, "aria-live": "off" }, make("p.small", "Loading …"));
    this.back = button("‹ Back", () => this.go(this.index - 1));
    this.forward = button("Next ›", () => this.next(), { className: "main" });
    this.links = this.steps.map(({ title }, i) => button(`${i + 1}. ${title}`, () => this.go(i)));
    root.append(
      make("header", make("h2", "How it works"),
        make("p", "A GPT predicts the next token of a text. These six steps follow the last token of a text through the model."),
        this.source),
      make("nav", { "aria-label": "Steps" }, make("ol.steps", ...this.links.map((link) => make("li", link)))),
      this.body,
      make("p.actions", this.back, this.forward));
  }

  /**
   * Show the activations of a generated text, or of an example.
   * @param {Client} client
   * @param {GeneratedText} text
   * @param {boolean} isExample
   */
  async open(client, text, isExample) {
    this.explainer ??= new Explainer(client);
    if (this.shown?.model !== text.model) {
      this.layer = text.model.n_layer >> 1; // a middle layer, where the heads are most varied
      this.head = 0;
    }
    this.shown = text;
    this.source.replaceChildren(
      isExample ? "These are the activations for an example. Generate a text to see your own: " : "These are the activations for your text: ",
      make("q", `…${text.text.slice(-48).replaceAll("\n", " / ")}`));
    await this.show();
  }

  /**
   * The activations at the end of the text, in one layer.
   * @param {number} layer
   */
  async explain(layer) {
    if (!this.shown || !this.explainer) throw new Error("There is no text yet.");
    return this.explainer.explain({ model: this.shown.model.id, text: this.shown.text, layer, add_special_tokens: this.shown.isWhole });
  }

  next() {
    if (this.index < this.steps.length - 1) this.go(this.index + 1);
    else location.hash = "#playground";
  }

  /** @param {number} index */
  async go(index) {
    this.index = Math.max(0, Math.min(this.steps.length - 1, index));
    await this.show();
    this.body.focus({ preventScroll: true });
    if (this.body.getBoundingClientRect().top < 0) this.body.scrollIntoView();
  }

  async show() {
    this.links.forEach((link, i) => { i === this.index ? link.setAttribute("aria-current", "step") : link.removeAttribute("aria-current"); });
    this.back.setAttribute("aria-disabled", String(this.index === 0));
    this.forward.textContent = this.index < this.steps.length - 1 ? "Next ›" : "To the playground ›";
    const step = this.steps[this.index];
    if (!this.shown) return; // the text is on its way
    if (this.name !== step.name) this.body.replaceChildren(panel(step.name, "h3", make("p.small", "Loading …")));
    this.name = step.name;
    this.body.setAttribute("aria-busy", "true");
    try {
      const explanation = await this.explain(this.layer);
      if (this.steps[this.index] !== step) return;
      this.body.removeAttribute("aria-busy");
      this.arcs = null;
      this.body.replaceChildren(panel(step.name, "h3", ...step.content.call(this, explanation)));
      // The arcs are measured, so they are drawn when they are in the page.
      /** @type {AttentionArcs | null} */ (this.arcs)?.set(explanation, this.head);
    } catch (error) {
      this.fail(error, () => this.show());
    }
  }

  /**
   * Show an error, and a button to try again.
   * @param {Error} error
   * @param {() => void} retry
   */
  fail(error, retry) {
    this.name = "";
    this.body.removeAttribute("aria-busy");
    this.body.replaceChildren(make("p.error", { role: "alert" }, `${error.message} `, button("Try again", retry)));
  }

  /**
   * A selector that shows the step again and keeps the focus.
   * @param {"layer" | "head"} name
   * @param {number} count
   */
  selector(name, count) {
    const group = radioGroup(name === "layer" ? "Layer" : "Head", count, this[name], async (value) => {
      this[name] = value;
      await this.show();
      find(`.radio-group.${name} :checked`, this.body).focus();
    });
    group.classList.add(name);
    return group;
  }

  /** @type {(explanation: Explanation) => Child[]} */
  embedding(explanation) {
    const token = explanation.tokens[explanation.size - 1];
    return [
      make("p.tokens", ...explanation.tokens.slice(-60).map((one) => make("span", visible(one)))),
      make("div.side",
        heatMap(`token embedding: the row of ${visible(token)} in wte`, explanation.last("wte")),
        make("span.plus", { "aria-hidden": "true" }, "+"),
        heatMap(`position embedding: row ${explanation.size - 1} of wpe`, explanation.last("wpe"))),
    ];
  }

  /** @type {(explanation: Explanation) => Child[]} */
  attention(explanation) {
    this.arcs = new AttentionArcs(() => {});
    return [make("div.selectors", this.selector("layer", explanation.layers), this.selector("head", explanation.heads)), this.arcs.root];
  }

  /** @type {(explanation: Explanation) => Child[]} */
  mlp(explanation) {
    const hidden = explanation.last("mlp");
    const largest = Math.max(...hidden);
    const active = hidden.filter((value) => value > 0.1 * largest).length;
    return [make("div.selectors", this.selector("layer", explanation.layers)),
      heatMap(`hidden units at ${visible(explanation.tokens[explanation.size - 1])}, after the activation function`, hidden),
      make("p.caption", `${active} of ${hidden.length} hidden units exceed a tenth of the largest activation.`)];
  }

  /** @type {(explanation: Explanation) => Child[]} */
  residual(explanation) {
    return [residualChart(explanation)];
  }

  /** @type {(explanation: Explanation) => Child[]} */
  outputHead(explanation) {
    const t = explanation.size - 1;
    return [make("div.side",
      make("div", make("h4", "Logit lens after each block"), logitLensTable(explanation, Math.max(0, t - 1))),
      make("div", make("h4", "Next token after ", make("b", visible(explanation.tokens[t]))), probabilityBars(explanation.next)))];
  }

  /** @type {(explanation: Explanation) => Child[]} */
  sampling(explanation) {
    const start = this.shown?.temperature || 1;
    const temperature = make("input", { type: "range", id: "tour-temperature", min: 0.1, max: 2, step: 0.05, value: start });
    const top_k = make("input", { type: "range", id: "tour-top-k", min: 1, max: explanation.next.length, step: 1, value: explanation.next.length });
    const result = make("p.caption", { role: "status" });
    const list = make("div");
    const temperatureLabel = make("label", { htmlFor: temperature.id });
    const topKLabel = make("label", { htmlFor: top_k.id });
    let probabilities = explanation.next;
    const show = (/** @type {string | undefined} */ drawn) => {
      probabilities = rescale(explanation.next, Number(temperature.value), Number(top_k.value));
      temperatureLabel.textContent = `Temperature ${temperature.value}`;
      topKLabel.textContent = `Top-k ${top_k.value}`;
      list.replaceChildren(probabilityBars(probabilities, drawn));
    };
    for (const slider of [temperature, top_k]) slider.addEventListener("input", () => show(undefined));
    const drawButton = button("Draw a token", () => {
      const [token, probability] = draw(probabilities, Math.random());
      show(token);
      result.textContent = `Drawn: ${visible(token)}, with probability ${percent(probability)}.`;
    });
    show(undefined);
    return [make("div.side", make("div.field", temperatureLabel, temperature, topKLabel, top_k, drawButton, result),
      make("div", make("h4", "Probabilities among the ten most likely tokens"), list))];
  }
}

/**
 * A short text that the model writes, the same each time.
 * @param {Client} client
 * @param {ModelInfo} model
 * @param {string} prompt
 * @returns {Promise<GeneratedText>}
 */
export async function exampleText(client, model, prompt) {
  let text = prompt;
  await client.complete({ model: model.id, prompt, ...EXAMPLE }, {
    onPrompt: (change) => { text = change.text; },
    onChunk: (chunk) => { text += chunk.text; },
  });
  return { model, text, temperature: EXAMPLE.temperature };
}
