// @ts-check
// A drawing of the model from text to the next token, which lights up the parts that a step is about.

/** @import { Context } from "./context.js" */

import { svg } from "../views/dom.js";

/** @typedef {"tokens" | "embedding" | "norm" | "attention" | "add" | "mlp" | "block" | "unembedding" | "sampling" | "training"} Part */

const WIDTH = 168;
const STREAM = 24; // x of the residual stream
const ROW = 27;

/**
 * The stream runs down on the left. Attention and MLP read it and add to it.
 * @param {Pick<Context, "isGpt1" | "model">} context
 * @param {Part[]} lit
 * @param {string} title of the step
 */
export function modelMap({ isGpt1, model }, lit, title) {
  const top = 8;
  let y = top;
  const has = (/** @type {Part} */ part) => (lit.includes(part) ? "part lit" : "part");
  /** @type {SVGElement[]} */
  const drawn = [];
  const rect = (/** @type {string} */ kind, /** @type {number} */ x, /** @type {number} */ width, /** @type {number} */ height) => drawn.push(svg("rect", { class: kind, x, y, width, height, rx: 3 }));
  const box = (/** @type {Part} */ part, /** @type {string} */ label, x = 6, width = WIDTH - 12) => {
    rect(has(part), x, width, 20);
    drawn.push(svg("text", { class: has(part), x: x + width / 2, y: y + 14 }, label));
    y += ROW;
  };
  const add = () => {
    drawn.push(svg("path", { class: has("add"), d: `M56 ${y + 2}H${STREAM + 8}` }), svg("circle", { class: has("add"), cx: STREAM, cy: y + 2, r: 8 }),
      svg("path", { class: has("add"), d: `M${STREAM} ${y - 3}v10M${STREAM - 5} ${y + 2}h10` }));
    y += 18;
  };
  const sublayer = (/** @type {Part} */ part, /** @type {string} */ label) => {
    drawn.push(svg("path", { d: `M${STREAM} ${y - 3}H110v5` }));
    y += 3;
    if (!isGpt1) box("norm", "layer norm", 56, 102);
    box(part, label, 56, 102);
    y -= 9;
    drawn.push(svg("path", { d: `M56 ${y - 8}v${10}` }));
    add();
    if (isGpt1) box("norm", "layer norm", 6, 96);
  };
  box("tokens", "text → tokens");
  box("embedding", "embedding + position");
  const start = y - 7;
  const blockTop = y;
  y += 12;
  drawn.push(svg("text", { class: has("block"), x: WIDTH - 36, y: y + 1 }, `block × ${model.n_layer}`));
  y += 10;
  sublayer("attention", `${model.n_head} heads`);
  sublayer("mlp", "MLP");
  const frame = svg("rect", { class: `frame ${has("block")}`, x: 2, y: blockTop, width: WIDTH - 4, height: y - blockTop, rx: 6 });
  y += 9;
  const end = y;
  if (!isGpt1) box("norm", "layer norm");
  box("unembedding", "unembedding, softmax");
  box("sampling", "draw the next token");
  box("training", "training: loss, gradient");
  return svg("svg", { class: "model-map", viewBox: `0 0 ${WIDTH} ${y}`, role: "img", "aria-label": `A drawing of the model. This step is about: ${title}.` },
    frame, svg("path", { class: lit.includes("add") ? "stream lit" : "stream", d: `M${STREAM} ${start}V${end}` }), ...drawn);
}
