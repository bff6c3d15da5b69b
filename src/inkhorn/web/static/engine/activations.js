// @ts-check
// The activation functions of the MLP, with the same bits in every browser.

import { exp } from "./exp.js";

/** @type {(x: number) => number} */
function erf(x) { // Abramowitz and Stegun 1964, 7.1.26
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - p * exp(-x * x));
}

/** @type {(x: number) => number} */
function geluNew(x) { // 0.5 x (1 + tanh(z / 2)) with z / 2 = sqrt(2 / pi) (x + 0.044715 x**3), which is x / (1 + e**-z)
  const z = x * (1.5957691216057308 + 0.07135481627260025 * x * x);
  const e = exp(-Math.abs(z));
  return (x * (z < 0 ? e : 1)) / (1 + e);
}

/**
 * The activation functions by their names in config.json.
 * @type {Record<"relu" | "gelu" | "gelu_new", (x: number) => number>}
 */
export const ACTIVATIONS = { relu: (x) => Math.max(x, 0), gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)), gelu_new: geluNew };
