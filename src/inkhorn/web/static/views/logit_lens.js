// @ts-check
// Probabilities: bars of the likely next tokens, and the logit lens table.

/** @import { Explanation } from "./explanation.js" */

import { make, percent, visible } from "./dom.js";

/**
 * A list of tokens with bars for their probabilities.
 * @param {[string, number][]} probabilities
 * @param {string} [selected] the token to highlight
 * @param {number} full the probability that fills a bar
 */
export function probabilityBars(probabilities, selected, full = Math.max(...probabilities.map(([, probability]) => probability), 1e-9)) {
  return make("ol.bars", ...probabilities.map(([token, probability]) => {
    const bar = make("i");
    bar.style.width = `${(100 * probability) / full}%`;
    return make("li", { className: token === selected ? "selected" : "" },
      make("b", visible(token)), make("span.bar", bar), make("span", percent(probability)));
  }));
}

/**
 * The prediction after 0, 1, ... blocks for the token that follows token t.
 * @param {Explanation} explanation
 * @param {number} t
 */
export function logitLensTable(explanation, t) {
  const next = explanation.tokens[t + 1];
  const rows = Array.from({ length: explanation.layers + 1 }, (_, depth) => {
    const { token, probability, actual } = explanation.lens(depth, t);
    const bar = make("i");
    bar.style.width = `${100 * actual}%`;
    return make("tr", { className: token === next ? "selected" : "" },
      make("th", { scope: "row" }, depth === 0 ? "embedding" : `block ${depth}`),
      make("td", make("b", visible(token))),
      make("td", percent(probability)),
      make("td.actual", make("span.bar", bar), next === undefined ? "" : percent(actual)));
  });
  return make("table.lens-table",
    make("thead", make("tr",
      make("th", { scope: "col" }, "after"), make("th", { scope: "col" }, "top token"), make("th", { scope: "col" }, "prob."),
      make("th", { scope: "col", className: "actual" }, "prob. of ", make("b", visible(next ?? "the next token"))))),
    make("tbody", ...rows));
}
