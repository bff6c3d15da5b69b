// @ts-check
// The live numbers of the tour: one text, what the model computes for it, and what the visitor has set.

/** @import { Client, ModelInfo, Vectors } from "../api/client.js" */
/** @import { Explanation } from "../views/explanation.js" */
/** @import { FoundHead } from "./behaviours.js" */

import { Explainer } from "../views/explanation.js";
import { findHeads } from "./behaviours.js";

/** @typedef {{ model: ModelInfo, text: string, isWhole?: boolean }} TourText isWhole: its prompt was empty */

const MAX_LENGTH = 180; // UTF-16 code units of the text
const MAX_LAYERS = 12; // whose heads are measured
const USUAL = 0.2; // the tour stops where the next token was about as probable as this: neither certain nor a surprise
const STORED = "inkhorn-tour";
export const FIRST = 8; // tokens at the start of the text, whose vectors the tour shows

export class Context {
  /**
   * @param {Client} client
   * @param {TourText} text
   */
  constructor(client, { model, text, isWhole = false }) {
    this.client = client;
    this.model = model;
    this.isGpt1 = model.model_type === "openai-gpt";
    this.isWhole = isWhole;
    this.full = text.slice(0, MAX_LENGTH).replace(/[\ud800-\udbff]$/, "");
    this.text = this.full;
    /** @type {string[]} */
    this.texts = []; // what each token of `text` adds to it
    /** @type {string | undefined} */
    this.target = undefined; // the token that follows
    this.explainer = new Explainer(client);
    /** @type {Promise<FoundHead[]> | undefined} */
    this.measured = undefined;
    this.key = JSON.stringify([model.id, this.full]);
  }

  /** Choose where the text ends. */
  async prepare() {
    const all = await this.explain(0);
    const { size, layers, tokens, texts } = all;
    let end = size - 1;
    let best = Infinity;
    for (let t = Math.floor(size / 2); t < size - 1; t += 1) {
      const distance = Math.abs(all.lens(layers, t).actual - USUAL);
      if (texts[t] === "" || tokens[t + 1] === "" || distance >= best) continue;
      best = distance;
      end = t;
    }
    this.texts = texts.slice(0, end + 1);
    this.target = tokens[end + 1];
    this.text = this.texts.join("");
    this.isCharacters = tokens.every((token) => [...token].length === 1 || token.startsWith("<|"));
    return this;
  }

  /**
   * What the model computes for the text, or for its first tokens: these do not depend on the later ones.
   * @param {number} layer
   * @param {number | null} head
   * @param {number} count of tokens
   */
  explain(layer, head = null, count = Infinity) {
    const text = count === Infinity ? this.text : this.texts.slice(0, count).join("");
    return this.explainer.explain({ model: this.model.id, text, layer, head, add_special_tokens: this.isWhole });
  }

  /**
   * The same with the vectors of the last tokens.
   * @param {number} layer
   * @param {number} head
   * @param {number} count
   * @returns {Promise<{ explanation: Explanation, vectors: Vectors, tokens: string[] }>}
   */
  async vectors(layer, head, count = Infinity) {
    const explanation = await this.explain(layer, head, count);
    const vectors = /** @type {Vectors} */ (explanation.vectors);
    return { explanation, vectors, tokens: explanation.tokens.slice(vectors.first) };
  }

  /** The end of the text, on one line. */
  get ending() {
    return `…${this.text.slice(-24).replace(/\s*\n\s*/g, " / ")}`;
  }

  /**
   * The heads with the clearest habits in this text.
   * @returns {Promise<FoundHead[]>}
   */
  heads() {
    const { n_layer } = this.model;
    const count = Math.min(n_layer, MAX_LAYERS);
    const layers = Array.from({ length: count }, (_, i) => Math.round((i * (n_layer - 1)) / Math.max(1, count - 1)));
    const measure = async () => {
      const explained = [];
      for (const layer of layers) explained.push(await this.explain(layer)); // one after the other, so that a step can ask between them
      return findHeads(explained);
    };
    this.measured ??= measure();
    this.measured.catch(() => { this.measured = undefined; }); // so that it can be tried again
    return this.measured;
  }

  /**
   * What the visitor has set in a step; it is kept until the tab is closed, or the tour is about another text. `setter`
   * makes a function that changes some values, saves them and shows the step again.
   * @template {Record<string, any>} T
   * @param {string} step
   * @param {T} defaults
   * @returns {{ values: T, save: () => void, setter: (show: () => unknown) => (change: Partial<T>) => void }}
   */
  settings(step, defaults) {
    const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
    const steps = stored.key === this.key ? stored.steps : {};
    const values = { ...defaults, ...steps[step] };
    const save = () => {
      const { key, steps: others } = JSON.parse(sessionStorage.getItem(STORED) ?? "{}");
      sessionStorage.setItem(STORED, JSON.stringify({ key: this.key, steps: { ...(key === this.key && others), [step]: values } }));
    };
    const setter = (/** @type {() => unknown} */ show) => (/** @type {Partial<T>} */ change) => {
      Object.assign(values, change);
      save();
      show();
    };
    return { values, save, setter };
  }
}

/** @type {(layer: number, head: number) => string} */
export const headName = (layer, head) => `layer ${layer + 1}, head ${head + 1}`;
