// @ts-check
// A chart of one token: the growth of its residual stream.

/** @import { Explanation } from "./explanation.js" */

import { make, svg } from "./dom.js";

const WIDTH = 420;
const HEIGHT = 200;
const LEFT = 30;
const BOTTOM = 24;

/**
 * The size of the last token's residual stream before the first block and after each, and what each block adds.
 * @param {Explanation} explanation
 */
export function residualChart(explanation) {
  const stream = explanation.residualRms(explanation.size - 1);
  const { attn, mlp } = explanation.updateRms;
  const top = Math.max(...stream, ...attn, ...mlp) * 1.08;
  const step = (WIDTH - LEFT - 14) / explanation.layers;
  const x = (/** @type {number} */ depth) => LEFT + depth * step;
  const y = (/** @type {number} */ value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - 10);
  /** @type {(text: string | number, at: number, height: number, anchor?: string) => SVGElement} */
  const label = (text, at, height, anchor = "middle") => svg("text", { x: at, y: height, "text-anchor": anchor }, text);
  /** @type {(kind: string, value: number, at: number) => SVGElement} */
  const bar = (kind, value, at) => svg("rect", { class: kind, x: at, y: y(value), width: step * 0.22, height: HEIGHT - BOTTOM - y(value) });
  const axis = [0, top / 2.16, top / 1.08].flatMap((value) => [
    svg("line", { x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
    label(value.toFixed(value < 10 ? 1 : 0), LEFT - 5, y(value) + 4, "end"),
  ]);
  const blocks = attn.flatMap((value, layer) => [
    bar("attn", value, x(layer) + step * 0.24),
    bar("mlp", mlp[layer], x(layer) + step * 0.52),
    label(layer + 1, x(layer) + step * 0.5, HEIGHT - 8),
  ]);
  const description = `The residual stream has size ${stream[0]} before the first block and ${stream[stream.length - 1]} after the last. `
    + attn.map((value, layer) => `Block ${layer + 1}: attention adds ${value}, the MLP ${mlp[layer]}.`).join(" ");
  return make("div.chart",
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": description }, ...axis, ...blocks,
      svg("polyline", { points: stream.map((value, depth) => `${x(depth)},${y(value)}`).join(" ") }),
      ...stream.map((value, depth) => svg("circle", { cx: x(depth), cy: y(value), r: 3 }))),
    make("p", { className: "caption key", "aria-hidden": "true" },
      make("span", "residual stream"), make("span.attn", "added by attention"), make("span.mlp", "added by the MLP")));
}
