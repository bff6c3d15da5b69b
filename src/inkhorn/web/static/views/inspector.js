// @ts-check
// The inspector: what the model computed at one token, and its prediction for the next.

/** @import { Atlas, Client, Intervention, ModelInfo } from "../api/client.js" */
/** @import { Explanation } from "./explanation.js" */
/** @import { InterventionGrid } from "./intervention_grid.js" */
/** @import { TextView } from "./text_view.js" */

import { AttentionArcs, AttentionMap, paintMap } from "./attention.js";
import { button, byPointer, characterFrom, endOf, make, visible } from "./dom.js";
import { Explainer } from "./explanation.js";
import { atlasLink, describeHead } from "./head_atlas.js";
import { ImportancePanel } from "./importance_panel.js";
import { logitLensTable, probabilityBars } from "./logit_lens.js";
import { panel } from "./panels.js";
import { radioGroup } from "./radio_group.js";
import { residualChart } from "./residual.js";

const PANELS = /** @type {const} */ (["attention", "importance", "map", "lens", "next", "residual"]);

export class Inspector {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {Client} client
   * @param {{ grid: InterventionGrid, atlas: (model: string) => Promise<Atlas | null> }} page
   */
  constructor(dialog, client, { grid, atlas }) {
    this.atlas = atlas;
    this.atlasText = make("p.small", { "aria-live": "polite" });
    this.importance = new ImportancePanel(client, grid);
    this.dialog = dialog;
    this.explainer = new Explainer(client);
    this.title = make("h2", { id: "inspector-title", tabIndex: -1 });
    this.error = make("p.error", { role: "alert", hidden: true });
    this.selectors = make("div.selectors");
    this.arcs = new AttentionArcs((t) => this.inspect(this.starts[t] + (this.explanation?.texts[t].length ?? 1)));
    this.map = new AttentionMap();
    this.body = make("div.panels");
    this.layer = 0;
    this.head = 0;
    this.shape = "";
    this.end = 0;
    /** @type {Intervention[]} */
    this.interventions = [];
    this.text = "";
    /** @type {number[]} */
    this.starts = [];
    /** @type {number[]} */
    this.promptEnds = []; // where the first known token of the prompt starts, and where each one ends
    /** @type {HTMLCanvasElement[]} */
    this.thumbnails = [];
    /** @type {ModelInfo | undefined} */
    this.model = undefined;
    /** @type {TextView | undefined} */
    this.view = undefined;
    /** @type {Explanation | undefined} */
    this.explanation = undefined;
    /** @type {object | undefined} */
    this.request = undefined;
    dialog.append(
      make("header", this.title, make("div.tools",
        button("‹ Previous", () => this.step(-1)), button("Next ›", () => this.step(1)), button("Close", () => dialog.close()))),
      this.selectors, this.error, this.body);
    dialog.addEventListener("click", ({ target }) => {
      if (target === dialog) dialog.close(); // a click on the backdrop
    });
    addEventListener("themechange", () => dialog.open && this.paint());
  }

  /**
   * Inspect the token of a text that ends at `end`; at first in a middle layer, where the heads are most varied.
   * @param {{ model: ModelInfo, view: TextView, end: number, interventions: Intervention[] }} target
   */
  open({ model, view, end, interventions }) {
    if (model !== this.model) {
      this.layer = model.n_layer >> 1;
      this.head = 0;
      this.shape = "";
    }
    this.model = model;
    this.view = view;
    this.interventions = interventions;
    this.text = view.text;
    this.promptEnds = [];
    if (!this.dialog.open) this.dialog.showModal();
    this.title.focus();
    return this.inspect(end);
  }

  /** @param {number} end */
  inspect(end) {
    const first = characterFrom(this.text, 0).length;
    this.end = Math.max(first, Math.min(this.text.length, end));
    return this.load();
  }

  /** @param {-1 | 1} direction */
  step(direction) {
    const texts = this.explanation?.texts ?? [];
    const previous = texts.findLast((token) => token !== "") ?? "";
    return this.inspect(direction < 0 ? this.end - previous.length : this.end + this.following.length);
  }

  /** The token after this one. */
  get following() {
    if (!this.view || this.end >= this.text.length) return "";
    const token = this.view.tokenAt(this.end);
    if (token >= 0) return this.view.tokens[token].text;
    const end = this.promptEnds.find((one) => one > this.end);
    return end ? this.text.slice(this.end, end) : characterFrom(this.text, this.end);
  }

  /** In the prompt, whose tokens the page does not know, ask for them, and move to the end of the one that was chosen. */
  async alignWithPrompt() {
    const prompt = this.view?.prompt ?? "";
    if (this.end > prompt.length) return;
    if (this.promptEnds.length === 0) {
      const { texts } = await this.explainer.explain({ model: this.model?.id ?? "", text: prompt, layer: 0 });
      if (this.view?.prompt !== prompt) return; // another text was opened meanwhile
      let end = prompt.length - texts.join("").length;
      this.promptEnds = [end, ...texts.map((token) => { end += token.length; return end; })];
    }
    if (this.end > this.promptEnds[0]) this.end = this.promptEnds.find((one) => one >= this.end) ?? this.end;
    this.showTitle();
  }

  async load() {
    const request = {};
    this.request = request;
    this.dialog.setAttribute("aria-busy", "true");
    this.body.setAttribute("aria-busy", "true"); // what is shown belongs to another token or layer
    this.showTitle();
    if (!this.body.hasChildNodes()) {
      this.body.replaceChildren(...PANELS.map((name) => panel(name, "h3", make("p.small", "Loading …"))));
    }
    try {
      await this.alignWithPrompt();
      if (this.request !== request) return;
      const explanation = await this.explainer.explain({ ...this.target, layer: this.layer });
      if (this.request !== request) return;
      this.error.hidden = true;
      this.show(explanation);
    } catch (error) {
      if (this.request !== request) return;
      this.error.replaceChildren(`${error.message} `, button("Try again", () => this.load()));
      this.error.hidden = false;
    } finally {
      if (this.request === request) {
        this.dialog.removeAttribute("aria-busy");
        this.body.removeAttribute("aria-busy");
      }
    }
  }

  /** The text up to the token, as it is sent. */
  get target() {
    const { model, view, text, end, interventions } = this;
    return { model: model?.id ?? "", text: text.slice(0, end), add_special_tokens: view?.prompt === "", interventions };
  }

  /** Name the token, which is known before its explanation arrives; one of the prompt, once its tokens are known. */
  showTitle() {
    const index = this.view?.tokenAt(this.end - 1) ?? -1;
    const inPrompt = this.promptEnds.findLast((end) => end < this.end) ?? this.view?.characterStart(this.end - 1) ?? this.end - 1;
    const start = index < 0 ? inPrompt : this.view?.starts[index] ?? 0;
    const token = this.text.slice(start, this.end);
    this.title.replaceChildren("Token ", make("b", visible(token)),
      make("small", ` after …${endOf(this.text.slice(0, this.end - token.length), 24).replaceAll("\n", " / ")}`));
  }

  /** @param {Explanation} explanation */
  show(explanation) {
    this.explanation = explanation;
    this.head = Math.min(this.head, explanation.heads - 1);
    let offset = this.end - explanation.texts.join("").length;
    this.starts = explanation.texts.map((token) => {
      offset += token.length;
      return offset - token.length;
    });
    const last = explanation.size - 1;
    this.showSelectors(explanation);
    const left = this.starts[0] > 0 ? `Earlier tokens are left out: the inspector runs the model on the last ${explanation.size}. ` : "";
    this.body.replaceChildren(
      panel("attention", "h3", this.arcs.root, this.atlasText, make("p.small", left, ...byPointer("Hover over a token to see its attention; click it", "Tap a token"), " to inspect it.")),
      this.importance.show(/** @type {ModelInfo} */ (this.model), this.target),
      panel("map", "h3", this.map.root),
      panel("lens", "h3", last > 0 ? logitLensTable(explanation, last - 1) : make("p", "There is no prediction for the first token.")),
      panel("next", "h3", probabilityBars(explanation.next, this.following)),
      panel("residual", "h3", residualChart(explanation)));
    this.paint();
  }

  /**
   * The selectors of layer and head; rebuilt only if their number changes, so that the focus remains.
   * @param {Explanation} explanation
   */
  showSelectors({ layers, heads }) {
    const shape = `${layers} ${heads}`;
    if (this.shape === shape) return;
    this.shape = shape;
    const headGroup = radioGroup("Head", heads, this.head, (head) => {
      this.head = head;
      this.paint();
    });
    this.selectors.replaceChildren(
      radioGroup("Layer", layers, this.layer, (layer) => {
        this.layer = layer;
        this.load();
      }),
      headGroup);
    this.thumbnails = [...headGroup.querySelectorAll("label span")].map((span) => {
      const canvas = make("canvas.thumbnail");
      span.prepend(canvas);
      return canvas;
    });
  }

  paint() {
    const { explanation } = this;
    if (!explanation) return;
    this.arcs.set(explanation, this.head);
    this.map.set(explanation, this.head);
    this.thumbnails.forEach((canvas, head) => { paintMap(canvas, explanation, head); });
    this.showAtlas();
  }

  /** Say what the atlas knows of the selected head. */
  async showAtlas() {
    const { model, layer, head } = this;
    const atlas = await this.atlas(model?.id ?? "").catch(() => null);
    if (model !== this.model || layer !== this.layer || head !== this.head) return;
    this.atlasText.hidden = atlas === null;
    if (atlas) this.atlasText.replaceChildren(`Over a text, layer ${layer + 1}, head ${head + 1} looks ${describeHead(atlas, layer, head)}.`, ...atlasLink(atlas));
  }
}
