// @ts-check
// The parts of a model as a table of switches: a row for each layer, a column for each head and for the MLP.

/** @import { Atlas, Intervention, ModelInfo } from "../api/client.js" */

import { button, make } from "./dom.js";
import { describeHead } from "./head_atlas.js";

/**
 * @typedef {{ layer: number, head: number | null }} Part a head, or the MLP if head is null
 */

const keyOf = (/** @type {Part} */ { layer, head }) => `${layer}.${head ?? "mlp"}`;

/** @param {Part} part */
export const nameOf = ({ layer, head }) => `layer ${layer + 1}, ${head === null ? "MLP" : `head ${head + 1}`}`;

/** The parts of a model by layer. @type {(model: ModelInfo) => Part[][]} */
export const partsOf = ({ n_layer, n_head }) => Array.from({ length: n_layer }, (_, layer) =>
  [...Array.from({ length: n_head }, (_, head) => ({ layer, head })), { layer, head: null }]);

/**
 * A table with a cell for each part, under the numbers of the heads.
 * @param {ModelInfo} model
 * @param {string} caption
 * @param {(part: Part) => HTMLElement} cell
 */
export function partTable(model, caption, cell) {
  const heads = Array.from({ length: model.n_head }, (_, i) => make("th", { scope: "col" }, `H${i + 1}`));
  return make("table.parts",
    make("caption.visually-hidden", caption),
    make("thead", make("tr", make("td"), ...heads, make("th", { scope: "col" }, "MLP"))),
    make("tbody", ...partsOf(model).map((parts, layer) =>
      make("tr", make("th", { scope: "row" }, `L${layer + 1}`), ...parts.map((part) => make("td", cell(part)))))));
}

/** Which parts are switched off. */
export class InterventionGrid {
  /**
   * @param {HTMLElement} root
   * @param {() => void} onChange
   */
  constructor(root, onChange) {
    this.root = root;
    this.onChange = onChange;
    /** @type {Map<string, Part>} */
    this.off = new Map();
    /** @type {Map<string, HTMLElement>} */
    this.cells = new Map();
    this.reset = button("Switch everything on", () => {
      this.set([]);
      this.onChange();
    }, { hidden: true });
  }

  /** @param {ModelInfo} model */
  show(model) {
    this.off.clear();
    this.cells.clear();
    const table = partTable(model, "Switch parts of the model off", (part) => {
      const cell = button("", () => this.toggle(part), { "aria-label": `Switch off ${nameOf(part)}`, title: nameOf(part), "aria-pressed": "false" });
      this.cells.set(keyOf(part), cell);
      return cell;
    });
    this.root.replaceChildren(table, this.reset);
    this.update();
  }

  /** @param {Part} part */
  isOff(part) {
    return this.off.has(keyOf(part));
  }

  /** @param {Part} part */
  toggle(part) {
    if (!this.off.delete(keyOf(part))) this.off.set(keyOf(part), part);
    this.update();
    this.onChange();
  }

  /** @param {Part[]} parts those that are off; others than the model's are left out */
  set(parts) {
    this.off = new Map(parts.map((part) => /** @type {const} */ ([keyOf(part), part])).filter(([key]) => this.cells.has(key)));
    this.update();
  }

  /**
   * Name what each head looks at.
   * @param {Atlas} atlas
   */
  describe(atlas) {
    for (const [key, cell] of this.cells) {
      const [layer, head] = key.split(".").map(Number);
      if (Number.isNaN(head)) continue;
      cell.title = `${nameOf({ layer, head })}: looks ${describeHead(atlas, layer, head)}`;
    }
  }

  update() {
    for (const [key, cell] of this.cells) cell.setAttribute("aria-pressed", String(this.off.has(key)));
    this.reset.hidden = this.off.size === 0;
  }

  /** @returns {Intervention[]} */
  get interventions() {
    return [...this.off.values()].map(({ layer, head }) => (head === null ? { component: "mlp", layer } : { component: "head", layer, head }));
  }
}
