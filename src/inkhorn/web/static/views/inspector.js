// The view that opens at a character: what the model did when it came to it, and what it thinks may follow.

import { Arcs, HeadMap, paintMap } from "./attention.js";
import { choice } from "./radio_group.js";
import { make, visible } from "./dom.js";
import { Explainer } from "./explanation.js";
import { bars, lensTable } from "./logit_lens.js";
import { panel } from "./panels.js";
import { residualChart } from "./residual.js";

export class Inside {
  constructor(dialog, client) {
    this.dialog = dialog;
    this.explainer = new Explainer(client);
    this.title = make("h2", { id: "inside-title", tabIndex: -1 });
    this.fault = make("p.fault", { role: "alert", hidden: true });
    this.picks = make("div.picks");
    this.arcs = new Arcs((t) => this.move(this.starts[t] + this.explanation.tokens[t].length));
    this.map = new HeadMap();
    this.body = make("div.panels");
    const step = (name, by) => make("button", { type: "button", onclick: () => this.step(by) }, name);
    dialog.append(
      make("header", this.title, make("div.tools",
        step("‹ Before", -1), step("After ›", 1), make("button", { type: "button", onclick: () => dialog.close() }, "Close"))),
      this.picks, this.fault, this.body);
    dialog.addEventListener("click", ({ target }) => {
      if (target === dialog) dialog.close(); // beside it
    });
    addEventListener("themechange", () => dialog.open && this.paint());
  }

  /** Look at the token of a play that ends at `end`; at first in a layer in the middle, where heads do most. */
  open({ model, play, end }) {
    if (model !== this.model) {
      this.layer = model.n_layer >> 1;
      this.head = 0;
      this.kind = "";
    }
    Object.assign(this, { model, play, text: play.text });
    if (!this.dialog.open) this.dialog.showModal();
    this.title.focus();
    return this.move(end);
  }

  move(end) {
    this.end = Math.max(1, Math.min(this.text.length, end));
    return this.load();
  }

  step(by) {
    if (by < 0) return this.move(this.end - (this.explanation?.tokens.at(-1).length || 1));
    return this.move(this.end + this.following.length);
  }

  /** The token after this one; in the prompt, whose tokens the page does not know, a character. */
  get following() {
    if (this.end >= this.text.length) return "";
    const token = this.play.tokenAt(this.end);
    return token < 0 ? (this.text[this.end] ?? "") : this.play.tokens[token].text;
  }

  async load() {
    const asked = { model: this.model.id, text: this.text.slice(0, this.end), layer: this.layer };
    this.asked = asked;
    this.dialog.setAttribute("aria-busy", "true");
    try {
      const explanation = await this.explainer.explain(asked);
      if (this.asked !== asked) return;
      this.fault.hidden = true;
      this.show(explanation);
    } catch (error) {
      if (this.asked !== asked) return;
      this.fault.replaceChildren(`${error.message} `, make("button", { type: "button", onclick: () => this.load() }, "Try again"));
      this.fault.hidden = false;
    } finally {
      if (this.asked === asked) this.dialog.removeAttribute("aria-busy");
    }
  }

  show(explanation) {
    this.explanation = explanation;
    this.head = Math.min(this.head, explanation.heads - 1);
    let at = this.end - explanation.tokens.join("").length;
    this.starts = explanation.tokens.map((token) => (at += token.length) - token.length);
    const last = explanation.size - 1;
    const token = explanation.tokens[last];
    this.title.replaceChildren("Inside, at ", make("b", visible(token)),
      make("small", ` after …${explanation.tokens.slice(-25, -1).join("").replaceAll("\n", " / ")}`));
    this.pickers(explanation);
    const cut = this.starts[0] > 0 ? `The model sees the last ${explanation.size} tokens; what stands before is out of its sight. ` : "";
    this.body.replaceChildren(
      panel("attention", "h3", this.arcs.root, make("p.small", `${cut}Point at a character for its arcs, press it to go there.`)),
      panel("map", "h3", this.map.root),
      panel("lens", "h3", last > 0 ? lensTable(explanation, last - 1) : make("p", "Nothing stands before the first token, so nothing was guessed.")),
      panel("next", "h3", bars(explanation.next, this.following)),
      panel("residual", "h3", residualChart(explanation)));
    this.paint();
  }

  /** Layers and heads; made anew only if the model is another, so that the focus stays. */
  pickers({ layers, heads }) {
    const kind = `${layers} ${heads}`;
    if (this.kind === kind) return;
    this.kind = kind;
    this.picks.replaceChildren(
      choice("Layer", layers, this.layer, (layer) => {
        this.layer = layer;
        this.load();
      }),
      choice("Head", heads, this.head, (head) => {
        this.head = head;
        this.paint();
      }));
    this.thumbs = [...this.picks.querySelectorAll("fieldset:last-child label span")].map((span) => {
      span.prepend(make("canvas.thumb"));
      return span.firstChild;
    });
  }

  paint() {
    this.arcs.set(this.explanation, this.head);
    this.map.set(this.explanation, this.head);
    this.thumbs.forEach((canvas, head) => paintMap(canvas, this.explanation, head));
  }
}
