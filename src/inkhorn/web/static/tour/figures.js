// @ts-check
// What the tour's figures are made of: controls, bars, tables, vectors as strips of cells, and text with marked terms.

/** @import { Child } from "../views/dom.js" */

import { make, percent } from "../views/dom.js";

/** @typedef {[string, number][]} Ranked tokens with a number each, the largest first */

/** @param {number[]} scores */
export function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** @type {(a: ArrayLike<number>, b: ArrayLike<number>) => number} */
export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}

/**
 * The weighted sum of some vectors.
 * @param {number[]} weights
 * @param {number[][]} vectors
 */
export const mix = (weights, vectors) => vectors[0].map((_, d) => weights.reduce((sum, weight, i) => sum + weight * vectors[i][d], 0));

/**
 * The probabilities of the tokens that remain: temperature, then top-k, then top-p.
 * @param {Ranked} logits
 * @param {{ temperature: number, topK: number, topP: number }} params
 * @returns {Ranked}
 */
export function reshape(logits, { temperature, topK, topP }) {
  const kept = logits.slice(0, topK);
  const probabilities = softmax(kept.map(([, logit]) => logit / temperature));
  let sum = 0;
  const size = probabilities.findIndex((probability) => {
    sum += probability;
    return sum >= topP;
  }) + 1 || kept.length;
  const total = probabilities.slice(0, size).reduce((a, b) => a + b, 0);
  return kept.slice(0, size).map(([token], i) => [token, probabilities[i] / total]);
}

/**
 * The token that a random number in [0, 1) selects.
 * @param {Ranked} probabilities
 * @param {number} random
 */
export function draw(probabilities, random) {
  let rest = random;
  for (const one of probabilities) {
    rest -= one[1];
    if (rest < 0) return one;
  }
  return probabilities[0];
}

let count = 0;

/**
 * A row of choices, one of which is selected.
 * @param {string} legend
 * @param {string[]} labels
 * @param {number} selected
 * @param {(index: number) => void} onSelect
 */
export function choices(legend, labels, selected, onSelect) {
  count += 1;
  const name = `choice-${count}`;
  return make("fieldset.radio-group", make("legend", legend), ...labels.map((label, i) => make("label",
    make("input", { type: "radio", name, checked: i === selected, onchange: () => onSelect(i) }), make("span", label))));
}

/**
 * A slider with its value in words.
 * @param {string} label
 * @param {{ min: number, max: number, step: number, value: number }} range
 * @param {(value: number) => string} format
 * @param {(value: number) => void} onInput
 */
export function slider(label, range, format, onInput) {
  count += 1;
  const input = make("input", { type: "range", id: `slider-${count}`, ...range });
  const output = make("output", { htmlFor: input.id }, format(range.value));
  input.setAttribute("aria-valuetext", format(range.value));
  input.addEventListener("input", () => {
    output.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", format(Number(input.value)));
    onInput(Number(input.value));
  });
  return make("p.field", make("label", { htmlFor: input.id }, label, " ", output), input);
}

/**
 * A list to choose from.
 * @param {string} label
 * @param {string[]} options
 * @param {number} selected
 * @param {(index: number) => void} onSelect
 */
export function dropdown(label, options, selected, onSelect) {
  const select = make("select", { onchange: () => onSelect(select.selectedIndex) }, ...options.map((option) => make("option", option)));
  select.selectedIndex = selected;
  return make("label.dropdown", `${label} `, select);
}

/** The numbers from 1 on, for dropdowns. @type {(length: number) => string[]} */
export const numbers = (length) => Array.from({ length }, (_, i) => String(i + 1));

/** A number with a few digits and a minus sign. @type {(value: number, digits?: number) => string} */
export const num = (value, digits = 2) => value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "");

/**
 * Text in which *terms* that are defined and `code` are marked.
 * @param {string} text
 */
export const rich = (text) => text.split(/(\*[^*]+\*|`[^`]+`)/).map((part) => {
  if (part.startsWith("*")) return make("dfn", part.slice(1, -1));
  return part.startsWith("`") ? make("code", part.slice(1, -1)) : part;
});

/**
 * A bar for a share, and the share in percent. A full bar is always 100 %.
 * @param {number} share
 * @param {string} label
 */
export function shareBar(share, label = percent(share)) {
  const bar = make("i");
  bar.style.width = `${100 * share}%`;
  return make("span.share", make("span.bar", bar), make("span", label));
}

/**
 * A table in a box that scrolls if it is wider than the screen.
 * @param {string} caption
 * @param {(Child | null)[]} head
 * @param {Child[][]} rows the first cell of each is its header
 */
export function table(caption, head, rows) {
  return make("div.scroll", { tabIndex: 0, role: "group", "aria-label": caption }, make("table.numbers",
    make("caption.visually-hidden", caption),
    make("thead", make("tr", ...head.map((cell) => (cell === null ? make("td") : make("th", { scope: "col" }, cell))))),
    make("tbody", ...rows.map(([first, ...cells]) => make("tr", make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", cell)))))));
}

/** The largest absolute value. @type {(...vectors: ArrayLike<number>[]) => number} */
export const largest = (...vectors) => {
  let found = 1e-9;
  for (const vector of vectors) for (let i = 0; i < vector.length; i += 1) found = Math.max(found, Math.abs(vector[i]));
  return found;
};

/**
 * @param {string} name for those who cannot see it
 * @param {ArrayLike<number>} values
 * @param {number} scale the number that has the full colour; vectors that are compared share it
 * @param {number} columns
 */
export function strip(name, values, scale, columns = values.length) {
  const canvas = make("canvas.strip", { role: "img", width: columns, height: Math.ceil(values.length / columns) });
  let [smallest, greatest] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i += 1) {
    smallest = Math.min(smallest, values[i]);
    greatest = Math.max(greatest, values[i]);
  }
  canvas.setAttribute("aria-label", `${name}: ${values.length} numbers from ${num(smallest)} to ${num(greatest)}`);
  const paint = () => {
    const context = canvas.getContext("2d");
    if (!context) return;
    const style = getComputedStyle(canvas);
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < values.length; i += 1) {
      context.globalAlpha = Math.min(1, Math.abs(values[i]) / scale) ** 0.7;
      context.fillStyle = values[i] < 0 ? style.outlineColor : style.color;
      context.fillRect(i % columns, Math.floor(i / columns), 1, 1);
    }
  };
  requestAnimationFrame(paint); // when it is in the page and has its colours
  addEventListener("themechange", () => canvas.isConnected && paint());
  return canvas;
}

/**
 * A strip with its name and first numbers.
 * @param {string} name
 * @param {ArrayLike<number>} values
 * @param {number} scale
 */
export function namedStrip(name, values, scale) {
  const shown = Array.from({ length: Math.min(4, values.length) }, (_, i) => num(values[i])).join(", ");
  return make("figure.vector", make("figcaption", name, make("small", ` ${shown}${values.length > 4 ? ", …" : ""}`)), strip(name, values, scale));
}

export const LEGEND = "Each cell is one number: red is positive, blue is negative, and a stronger colour is a larger number.";
