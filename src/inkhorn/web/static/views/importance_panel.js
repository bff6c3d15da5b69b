// @ts-check
// The inspector's map of what matters: how the log-probability of the token changes if a part is switched off.

/** @import { Client, ImportanceRequest, ImportanceResponse, ModelInfo } from "../api/client.js" */
/** @import { InterventionGrid, Part } from "./intervention_grid.js" */

import { button, make } from "./dom.js";
import { nameOf, partTable } from "./intervention_grid.js";
import { panel } from "./panels.js";

const STRONG = 1; // nats that get the full colour

export class ImportancePanel {
  /**
   * @param {Client} client
   * @param {InterventionGrid} grid the switches of the playground, which the cells flip
   */
  constructor(client, grid) {
    this.client = client;
    this.grid = grid;
    this.content = make("div");
    /** @type {ImportanceRequest | undefined} */
    this.request = undefined;
    /** @type {ModelInfo | undefined} */
    this.model = undefined;
  }

  /**
   * A panel for another token. It is computed when the reader asks for it.
   * @param {ModelInfo} model
   * @param {ImportanceRequest} request
   */
  show(model, request) {
    this.model = model;
    this.request = request;
    this.content = make("div", button("Compute", () => this.load()));
    return panel("importance", "h3", this.content);
  }

  async load() {
    const { request, model, content } = this;
    if (!request || !model) return;
    content.replaceChildren(make("p.small", { role: "status" }, "Computing …"));
    const onProgress = (/** @type {number} */ done, /** @type {number} */ total) => {
      content.firstElementChild?.replaceChildren(`Computing … ${Math.round((100 * done) / total)} %`);
    };
    try {
      this.fill(content, model, await this.client.importance(request, { onProgress }));
    } catch (error) {
      content.replaceChildren(make("p.error", { role: "alert" }, `${error.message} `, button("Try again", () => this.load())));
    }
  }

  /**
   * @param {HTMLElement} content
   * @param {ModelInfo} model
   * @param {ImportanceResponse} response
   */
  fill(content, model, { effects, direct }) {
    const values = (/** @type {Part} */ { layer, head }) => ({
      effect: head === null ? effects.mlp[layer] : effects.heads[layer][head],
      share: direct && (head === null ? direct.mlp[layer] : direct.heads[layer][head]),
    });
    const details = make("p.caption", { "aria-live": "polite" }, "Point at a part to read its numbers; click it to switch it off on the page.");
    const table = partTable(model, "Change of the token’s log-probability without each part", (part) => {
      const { effect, share } = values(part);
      const text = `${nameOf(part)}: without it the token becomes ${describe(effect)}${share === null ? "" : `; direct share of the logit ${signed(share)}`}`;
      const show = () => details.replaceChildren(text);
      const cell = button("", () => {
        this.grid.toggle(part);
        cell.setAttribute("aria-pressed", String(this.grid.isOff(part)));
      }, { "aria-label": text, "aria-pressed": String(this.grid.isOff(part)), onmouseenter: show, onfocus: show });
      cell.className = effect < 0 ? "helps" : "hinders";
      cell.style.setProperty("--amount", `${Math.round(Math.min(Math.abs(effect) / STRONG, 1) * 90)}%`);
      return cell;
    });
    const probability = Math.exp(effects.logprob);
    content.replaceChildren(
      make("p.small", `The token had probability ${(100 * probability).toPrecision(2)} %. `,
        make("span", { className: "key helps" }, "helps"), " ", make("span", { className: "key hinders" }, "hinders")),
      table, details, ...(direct || model.backend !== "browser" ? [] : [make("p.small", "inkhorn serve also shows the direct share of each part in the token’s logit.")]));
  }
}

/** @param {number} effect in nats */
function describe(effect) {
  const factor = Math.exp(Math.abs(effect));
  if (factor < 1.05) return "about as likely";
  return `${factor >= 10 ? Math.round(factor) : factor.toFixed(1)} times ${effect < 0 ? "less" : "more"} likely`;
}

const signed = (/** @type {number} */ value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
