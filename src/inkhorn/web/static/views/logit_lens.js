// Odds: bars of what may follow, and the table of what the model would have said after each block.

import { make, percent, visible } from "./dom.js";

/** A list of [token, probability] with bars; `drawn` is the one that was taken, `most` what fills a bar. */
export function bars(list, drawn, most = Math.max(...list.map(([, probability]) => probability), 1e-9)) {
  return make("ol.bars", ...list.map(([token, probability]) => {
    const bar = make("i");
    bar.style.width = `${(100 * probability) / most}%`;
    return make("li", { className: token === drawn ? "drawn" : "" },
      make("b", visible(token)), make("span.bar", bar), make("span", percent(probability)));
  }));
}

/** The guesses after 0, 1, ... blocks on what follows token t. */
export function lensTable(explanation, t) {
  const follows = explanation.tokens[t + 1];
  const rows = Array.from({ length: explanation.layers + 1 }, (_, depth) => {
    const { token, probability, actual } = explanation.lens(depth, t);
    const bar = make("i");
    bar.style.width = `${100 * actual}%`;
    return make("tr", { className: token === follows ? "drawn" : "" },
      make("th", { scope: "row" }, depth === 0 ? "embedding" : `block ${depth}`),
      make("td", make("b", visible(token))),
      make("td", percent(probability)),
      make("td.odds", make("span.bar", bar), follows === undefined ? "" : percent(actual)));
  });
  return make("table.lens-table",
    make("thead", make("tr",
      make("th", { scope: "col" }, "after"), make("th", { scope: "col" }, "it would say"), make("th", { scope: "col" }, "odds"),
      make("th", { scope: "col", className: "odds" }, "odds of ", make("b", visible(follows ?? "what follows"))))),
    make("tbody", ...rows));
}
