// @ts-check
// Forms to scale a part of the model and to patch an activation from another prompt, and the list of such changes.

/** @import { Intervention, ModelInfo } from "../api/client.js" */

import { encodeChange, nameOfChange } from "./change_codes.js";
import { button, make } from "./dom.js";

const PARTS = /** @type {const} */ ([["resid", "residual stream"], ["attn", "attention"], ["mlp", "MLP"], ["head", "head"]]);

/** @type {(id: string, label: string, control: HTMLElement) => HTMLElement} */
const field = (id, label, control) => {
  control.id = id;
  return make("p.field", make("label", { htmlFor: id }, label), control);
};

/** @type {(count: number) => HTMLOptionElement[]} */
const numbers = (count) => Array.from({ length: count }, (_, i) => new Option(String(i + 1), String(i)));

export class PartChanges {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Intervention[]} */
    this.list = [];
    this.shown = make("ul.changes", { "aria-label": "Other changes" });
    this.root = make("div");
  }

  /** @param {ModelInfo} model */
  show(model) {
    this.list = [];
    this.root.replaceChildren(this.scaleForm(model), this.patchForm(model), this.shown);
    this.update();
  }

  /** @param {ModelInfo} model */
  layers({ n_layer }) {
    return make("select", ...numbers(n_layer));
  }

  /** @param {ModelInfo} model */
  scaleForm(model) {
    const layer = this.layers(model);
    const part = make("select", ...numbers(model.n_head).map((option) => { option.text = `head ${option.text}`; return option; }), new Option("MLP", "mlp"));
    const value = make("span.value", "× 1");
    const slider = make("input", { type: "range", min: 0, max: 3, step: 0.25, oninput: () => { value.textContent = `× ${slider.value}`; }, onchange: () => {
      /** @type {Intervention} */
      const change = { ...partOf(layer, part), action: "scale", factor: Number(slider.value) };
      this.replace(change, (other) => other.action === "scale" && other.component === change.component && other.layer === change.layer && other.head === change.head);
    } });
    slider.value = "1";
    const select = () => { // another part: show its factor
      const { component, layer: at, head } = partOf(layer, part);
      const found = this.list.find((one) => one.action === "scale" && one.component === component && one.layer === at && one.head === head);
      slider.value = String(found?.factor ?? 1);
      value.textContent = `× ${slider.value}`;
    };
    layer.onchange = part.onchange = select;
    const strength = field("scale-factor", "Factor ", slider);
    strength.firstElementChild?.append(value);
    return make("details", make("summary", "Scale a part"),
      make("div.columns", field("scale-layer", "Layer", layer), field("scale-part", "Part", part)), strength);
  }

  /** @param {ModelInfo} model */
  patchForm(model) {
    const prompt = make("textarea", { rows: 2, spellcheck: false });
    const kind = make("select", ...PARTS.map(([value, label]) => new Option(label, value)));
    const layer = this.layers(model);
    const head = make("select", ...numbers(model.n_head));
    const from = make("input", { type: "number", step: 1, value: -1 });
    const to = make("input", { type: "number", step: 1, value: -1 });
    const heads = field("patch-head", "Head", head);
    heads.hidden = true;
    kind.onchange = () => { heads.hidden = kind.value !== "head"; };
    const patch = button("Patch", () => {
      if (prompt.value === "") {
        prompt.focus();
        return;
      }
      const component = /** @type {Intervention["component"]} */ (kind.value);
      /** @type {Intervention} */
      const change = {
        component, layer: Number(layer.value), ...(component === "head" ? { head: Number(head.value) } : {}), action: "patch",
        prompt: prompt.value, source_position: Number(from.value), position: Number(to.value),
      };
      this.replace(change, (other) => encodeChange(other) === encodeChange(change));
    });
    return make("details", make("summary", "Patch from another prompt"),
      make("p.small", "While the model reads the prompt, one activation is replaced by its value in another prompt. Tokens are numbered from 0; −1 is the last one."),
      field("patch-prompt", "Other prompt", prompt),
      make("div.columns", field("patch-part", "Activation", kind), field("patch-layer", "Layer", layer), heads,
        field("patch-from", "Its token", from), field("patch-to", "Token here", to)), patch);
  }

  /**
   * Put a change at the end of the list, in the place of others.
   * @param {Intervention} change
   * @param {(other: Intervention) => boolean} replaces
   */
  replace(change, replaces) {
    this.list = [...this.list.filter((other) => !replaces(other)), ...(change.action === "scale" && change.factor === 1 ? [] : [change])];
    this.update();
    this.onChange();
  }

  /** @param {Intervention[]} list */
  set(list) {
    this.list = list;
    this.update();
  }

  update() {
    this.shown.replaceChildren(...this.list.map((change) => make("li", button(`${nameOfChange(change)} ✕`, () => {
      this.set(this.list.filter((other) => other !== change));
      this.onChange();
    }, { "aria-label": `Remove ${nameOfChange(change)}` }))));
    this.shown.hidden = this.list.length === 0;
  }
}

/**
 * @param {HTMLSelectElement} layer
 * @param {HTMLSelectElement} part
 * @returns {Intervention}
 */
const partOf = (layer, part) => (part.value === "mlp" ? { component: "mlp", layer: Number(layer.value) }
  : { component: "head", layer: Number(layer.value), head: Number(part.value) });
