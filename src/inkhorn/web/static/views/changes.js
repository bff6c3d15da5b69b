// @ts-check
// The changes of the model that the reader has chosen: steering, parts switched off, and other interventions.

/** @import { Atlas, Intervention, ModelInfo, PageFacts } from "../api/client.js" */

import { describeChanges, equalChanges } from "./change_codes.js";
import { make } from "./dom.js";
import { atlasLink } from "./head_atlas.js";
import { InterventionGrid } from "./intervention_grid.js";
import { PartChanges } from "./part_changes.js";
import { Steering } from "./steering.js";

export class Changes {
  /**
   * @param {HTMLDetailsElement} root
   * @param {{ onChange: () => void, atlas: (model: string) => Promise<Atlas | null> }} page
   */
  constructor(root, { onChange, atlas }) {
    this.root = root;
    this.onChange = onChange;
    this.atlas = atlas;
    const changed = () => { this.update(); onChange(); };
    this.grid = new InterventionGrid(make("div"), changed);
    this.steering = new Steering(changed);
    this.others = new PartChanges(changed);
    this.summary = make("small", { id: "changes" });
    this.mean = make("input", { type: "checkbox", onchange: changed });
    this.meanField = make("label.inline", this.mean, " Put their mean over a text in their place, not zero");
    this.link = make("p.small");
    root.querySelector("summary")?.append(" ", this.summary);
    root.append(this.steering.root, make("h2", "Switch off"), this.grid.root, this.meanField, this.link, this.others.root);
    root.addEventListener("toggle", () => root.open && this.showAtlas());
  }

  /**
   * @param {ModelInfo} model
   * @param {PageFacts | undefined} facts
   */
  show(model, facts) {
    const key = `${model.id} ${model.fingerprint}`;
    if (this.root.dataset.model === key) return;
    this.root.dataset.model = key;
    this.model = model;
    this.grid.show(model);
    this.steering.show(facts?.steering ?? []);
    this.others.show(model);
    this.mean.checked = false;
    this.meanField.hidden = !facts?.means;
    this.link.replaceChildren();
    this.update();
    if (this.root.open) this.showAtlas();
  }

  /** Say for each head what it looks at. */
  async showAtlas() {
    const { model } = this;
    if (!model || this.link.hasChildNodes()) return;
    const atlas = await this.atlas(model.id).catch(() => null); // without it nothing else is missing
    if (!atlas || model !== this.model || this.link.hasChildNodes()) return;
    this.grid.describe(atlas);
    this.link.replaceChildren("What each head looks at:", ...atlasLink(atlas));
    if (!atlas.page) this.link.replaceChildren();
  }

  /** @returns {Intervention[]} */
  get interventions() {
    const off = this.grid.interventions;
    return [...(this.mean.checked && !this.meanField.hidden ? off.map((change) => ({ ...change, action: /** @type {const} */ ("mean") })) : off),
      ...this.steering.interventions, ...this.others.list];
  }

  /**
   * Show interventions, of a link or of a text, in the controls.
   * @param {Intervention[]} interventions
   */
  set(interventions) {
    if (equalChanges(interventions, this.interventions)) return;
    const action = interventions.some((one) => one.action === "mean") && !this.meanField.hidden ? "mean" : "zero";
    const isPart = (/** @type {Intervention} */ one) => (one.action ?? "zero") === action && (one.component === "head" || one.component === "mlp");
    this.mean.checked = action === "mean";
    this.grid.set(interventions.filter(isPart).map(({ layer, head = null }) => ({ layer, head })));
    this.others.set(this.steering.set(interventions.filter((one) => !isPart(one))));
    this.update();
    if (interventions.length) this.root.open = true;
  }

  update() {
    this.summary.textContent = describeChanges(this.interventions);
  }
}
