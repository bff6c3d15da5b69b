// Numbers of one token: how its residual stream grows, and rows of many small values.

import { draw, make } from "./dom.js";

const WIDE = 420;
const HIGH = 200;
const LEFT = 30;
const BOTTOM = 24;

/** The size of the last token's stream before the first block and after each, and what each block adds. */
export function residualChart(explanation) {
  const stream = explanation.residual(explanation.size - 1);
  const { attn, mlp } = explanation.added;
  const most = Math.max(...stream, ...attn, ...mlp) * 1.08;
  const step = (WIDE - LEFT - 14) / explanation.layers;
  const x = (depth) => LEFT + depth * step;
  const y = (value) => HIGH - BOTTOM - (value / most) * (HIGH - BOTTOM - 10);
  const label = (text, at, high, anchor = "middle") => draw("text", { x: at, y: high, "text-anchor": anchor }, text);
  const bar = (kind, value, at) => draw("rect", { class: kind, x: at, y: y(value), width: step * 0.22, height: HIGH - BOTTOM - y(value) });
  const marks = [0, most / 2.16, most / 1.08].flatMap((value) => [
    draw("line", { x1: LEFT, x2: WIDE, y1: y(value), y2: y(value) }),
    label(value.toFixed(value < 10 ? 1 : 0), LEFT - 5, y(value) + 4, "end"),
  ]);
  const blocks = attn.flatMap((value, layer) => [
    bar("attn", value, x(layer) + step * 0.24),
    bar("mlp", mlp[layer], x(layer) + step * 0.52),
    label(layer + 1, x(layer) + step * 0.5, HIGH - 8),
  ]);
  const said = `The stream has size ${stream[0]} before the first block and ${stream.at(-1)} after the last. `
    + attn.map((value, layer) => `Block ${layer + 1}: attention adds ${value}, MLP ${mlp[layer]}.`).join(" ");
  return make("div.chart",
    draw("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": said }, ...marks, ...blocks,
      draw("polyline", { points: stream.map((value, depth) => `${x(depth)},${y(value)}`).join(" ") }),
      ...stream.map((value, depth) => draw("circle", { cx: x(depth), cy: y(value), r: 3 }))),
    make("p", { className: "reading key", "aria-hidden": "true" },
      make("span", "the stream"), make("span.attn", "added by attention"),
      make("span.mlp", "added by the MLP, in each block")));
}

/** Values as cells: one colour below zero, the other above, the stronger the farther from it. */
export function cells(name, values) {
  const columns = values.length > 512 ? 64 : 40;
  const canvas = make("canvas.cells", { role: "img", width: columns, height: Math.ceil(values.length / columns) });
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  const positive = values.reduce((sum, value) => sum + (value > 0.1 * most), 0);
  canvas.setAttribute("aria-label", `${name}: ${values.length} values from ${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}, ${positive} of them clearly above zero.`);
  const context = canvas.getContext("2d");
  const paint = () => {
    const style = getComputedStyle(canvas);
    const colours = [style.color, style.outlineColor];
    context.clearRect(0, 0, canvas.width, canvas.height);
    values.forEach((value, i) => {
      context.globalAlpha = (Math.abs(value) / most) ** 0.7;
      context.fillStyle = colours[value < 0 ? 1 : 0];
      context.fillRect(i % columns, Math.floor(i / columns), 1, 1);
    });
  };
  requestAnimationFrame(paint); // once it stands in the page, where it has its colours
  addEventListener("themechange", () => canvas.isConnected && paint());
  return make("figure", make("figcaption.small", name), canvas);
}
