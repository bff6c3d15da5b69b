// @ts-check
// A slider for each steering vector, with its measured effect. A step of the slider is a factor that was measured.

/** @import { Intervention, SteeringVector } from "../api/client.js" */

import { signed } from "./change_codes.js";
import { make } from "./dom.js";

const UNMEASURED = [-8, -4, -2, 0, 2, 4, 8]; // factors of a vector whose effect is not known

const share = (/** @type {number} */ value) => `${Math.round(100 * value)} %`;

export class Steering {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    this.root = make("div");
    /** @type {{ vector: SteeringVector, factors: number[], input: HTMLInputElement, show: () => void }[]} */
    this.sliders = [];
  }

  /** @param {SteeringVector[]} vectors */
  show(vectors) {
    this.sliders = vectors.map((vector) => this.slider(vector));
    this.root.replaceChildren(...(vectors.length ? [make("h2", "Steer")] : []),
      ...this.sliders.map(({ vector, input }) => /** @type {HTMLElement} */ (input.closest(".field")) ?? vector.name));
  }

  /** @param {SteeringVector} vector */
  slider(vector) {
    const { name, positive, negative, effects } = vector;
    const factors = effects.length ? effects.map(({ factor }) => factor) : UNMEASURED;
    const value = make("span.value");
    const effect = make("small", { id: `steer-${name}-effect` });
    const input = make("input", {
      type: "range", id: `steer-${name}`, min: 0, max: factors.length - 1, step: 1, "aria-describedby": effect.id,
      oninput: () => show(), onchange: () => this.onChange(),
    });
    input.value = String(factors.indexOf(0));
    const show = () => {
      const factor = factors[Number(input.value)];
      value.textContent = factor === 0 ? "off" : signed(factor);
      input.setAttribute("aria-valuetext", factor === 0 ? "off" : `factor ${factor}`);
      effect.textContent = describe(vector, factor);
    };
    make("div.field", make("label", { htmlFor: input.id }, `${negative} ↔ ${positive} `, value), input, effect);
    show();
    return { vector, factors, input, show };
  }

  /** @returns {Intervention[]} */
  get interventions() {
    return this.sliders.flatMap(({ vector, factors, input }) => {
      const factor = factors[Number(input.value)];
      return factor === 0 ? [] : [{ component: "resid", layer: vector.layer, action: "add", vector: vector.name, factor }];
    });
  }

  /**
   * Set the sliders. Returns the interventions that no slider can show.
   * @param {Intervention[]} interventions
   */
  set(interventions) {
    for (const slider of this.sliders) {
      slider.input.value = String(slider.factors.indexOf(0));
      slider.show();
    }
    return interventions.filter(({ action, vector, factor = 1 }) => {
      const slider = action === "add" && this.sliders.find(({ vector: { name }, factors }) => name === vector && factors.includes(factor));
      if (slider) {
        slider.input.value = String(slider.factors.indexOf(factor));
        slider.show();
      }
      return !slider;
    });
  }
}

/**
 * @param {SteeringVector} vector
 * @param {number} factor
 */
function describe({ effects, positive }, factor) {
  const found = effects.find((one) => one.factor === factor);
  if (!found) return "The effect was not measured.";
  const { verse, typical, perplexity } = found;
  const measured = [
    typical === null ? "" : `words like ${positive} ${share(typical)}`,
    verse === null ? "" : `verse lines ${share(verse)}`,
    perplexity === null ? "" : `perplexity ${perplexity.toFixed(1)}`,
  ];
  return `Measured: ${measured.filter(Boolean).join(", ")}.`;
}
