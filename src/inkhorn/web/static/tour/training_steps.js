// @ts-check
// The steps about training: the loss, and one gradient step.

/** @import { Ranked } from "./figures.js" */
/** @import { Step } from "./steps.js" */

import { button, formatCount, make, percent, svg, visible } from "../views/dom.js";
import { dot, dropdown, num, shareBar, slider, table } from "./figures.js";

const WIDTH = 420;
const HEIGHT = 190;
const LEFT = 30;
const BOTTOM = 42;
const TOP_LOSS = 6;

/**
 * The curve of -ln p, and a point on it.
 * @param {number} probability
 */
function curve(probability) {
  const x = (/** @type {number} */ p) => LEFT + p * (WIDTH - LEFT - 22);
  const y = (/** @type {number} */ loss) => 8 + (1 - Math.min(loss, TOP_LOSS) / TOP_LOSS) * (HEIGHT - BOTTOM - 8);
  const points = Array.from({ length: 101 }, (_, i) => Math.max(i / 100, Math.exp(-TOP_LOSS))).map((p) => `${x(p)},${y(-Math.log(p))}`).join(" ");
  const label = (/** @type {string} */ text, /** @type {number} */ at, /** @type {number} */ height, anchor = "middle") => svg("text", { x: at, y: height, "text-anchor": anchor }, text);
  return make("div.chart", svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `The loss falls from large values at probability 0 to 0 at probability 100 %. Here it is ${num(-Math.log(probability))}.` },
    ...[0, 2, 4, 6].flatMap((loss) => [svg("line", { x1: LEFT, x2: WIDTH - 22, y1: y(loss), y2: y(loss) }), label(String(loss), LEFT - 5, y(loss) + 4, "end")]),
    ...[0, 0.5, 1].map((p) => label(`${100 * p} %`, x(p), HEIGHT - 24)), label("probability of the right token", x(0.5), HEIGHT - 6),
    svg("polyline", { points }), svg("circle", { cx: x(probability), cy: y(-Math.log(probability)), r: 6, class: "attn" })));
}

/** @type {Step} */
export const loss = {
  name: "loss",
  title: "Training: how wrong was it?",
  parts: ["training"],
  text: () => [
    "At first, all parameters are random, and so are the predictions. *Training* improves them with a large text, where the right next token is known.",
    "The *loss* says how wrong one prediction was: minus the natural logarithm of the probability of the right token. At 100 % the loss is 0, at 50 % it is 0.69, at 1 % it is 4.6.",
    "The loss of the model is the mean over all predictions. Training makes it small.",
  ],
  async figure(context) {
    const { response, size, texts, tokens } = await context.explain(0);
    const { values, save } = context.settings("loss", { token: size - 1 });
    const losses = /** @type {(number | null)[]} */ (response.surprisal);
    const known = losses.filter((value) => value !== null);
    const mean = known.reduce((sum, value) => sum + value, 0) / Math.max(1, known.length);
    const spans = texts.map((text, t) => {
      const span = make("span", text === "" ? visible(tokens[t]) : text);
      span.style.setProperty("--weight", String(Math.min(1, (losses[t] ?? 0) / TOP_LOSS).toFixed(3)));
      return span;
    });
    const details = make("div", { role: "status" });
    const show = () => {
      const t = Math.min(Math.max(1, values.token), size - 1);
      spans.forEach((span, i) => { span.classList.toggle("from", i === t); });
      const value = losses[t];
      if (value === null || value === undefined) return details.replaceChildren();
      details.replaceChildren(
        make("p", "The right token is ", make("b", visible(tokens[t])), `. The model gave it a probability of ${percent(Math.exp(-value))}, so the loss is −ln ${num(Math.exp(-value), 3)} = ${num(value)}.`),
        curve(Math.exp(-value)));
    };
    show();
    return [
      make("p.tokens", ...spans),
      make("p.small", "A stronger colour is a larger loss. ", `Mean loss of this text: ${num(mean)}.`),
      slider("Token", { min: 1, max: Math.max(1, size - 1), step: 1, value: values.token }, (t) => `${t + 1} of ${size}: ${visible(tokens[t] ?? "")}`, (token) => {
        values.token = token;
        save();
        show();
      }), details];
  },
  question: "A model that knows nothing gives every token the same probability. What is its loss?",
  answer: ({ model }) => `With ${model.vocab_size} tokens, each has probability 1/${model.vocab_size}. The loss is ln ${model.vocab_size} = ${num(Math.log(model.vocab_size))}. Training starts near this number.`,
  code: ["return logits, F.cross_entropy(flat, targets.reshape(-1), ignore_index=-1)"],
  links: ["olah-information", "karpathy-makemore"],
};

const TRAINED = 10; // tokens whose unembedding vectors change
const MAX_STEPS = 50;

/**
 * The probabilities of the trained tokens after some steps of gradient descent on their unembedding vectors.
 *
 * Let h be the vector that the output head reads, w_j the vector of token j, z_j = w_j h its logit, p_j its probability and y_j 1
 * for the right token, else 0. The gradient of the loss -ln p_right by w_j is (p_j - y_j) h. A step of size r changes w_j by
 * -r (p_j - y_j) h, and so z_j by -r (p_j - y_j) h h. The logits of all other tokens stay.
 * @param {Ranked} logits of the trained tokens
 * @param {number} logSum over the vocabulary
 * @param {number} right index of the right token
 * @param {number} rate r
 * @param {number} square h h
 * @param {number} steps
 * @returns {number[]}
 */
export function descend(logits, logSum, right, rate, square, steps) {
  const z = logits.map(([, logit]) => logit - logSum);
  const others = Math.max(0, 1 - z.reduce((sum, logit) => sum + Math.exp(logit), 0));
  const probabilities = () => {
    const powers = z.map(Math.exp);
    const sum = others + powers.reduce((a, b) => a + b, 0);
    return powers.map((power) => power / sum);
  };
  for (let step = 0; step < steps; step += 1) {
    probabilities().forEach((p, j) => { z[j] -= rate * (p - (j === right ? 1 : 0)) * square; });
  }
  return probabilities();
}

/** @type {Step} */
export const gradient = {
  name: "gradient",
  title: "Training: one step",
  parts: ["training"],
  text: ({ model }) => [
    "For each parameter we can ask: if it grows a little, does the loss grow or shrink, and how fast? These answers, one number for each parameter, are the *gradient*.",
    "A training step moves each parameter a little against its gradient. So the loss becomes smaller.",
    "For a logit, the gradient is simple: it is the probability of the token, minus 1 for the right token. So a step raises the right logit and lowers all others.",
    `Below you take real steps on one example. It is simplified in one way: only the unembedding vectors of ${TRAINED} tokens change (step 9 uses them). Real training changes all ${formatCount(model.parameters)} parameters, and each step uses thousands of examples.`,
  ],
  async figure(context) {
    const { vectors } = await context.vectors(0, 0);
    const logits = vectors.logits.slice(0, TRAINED);
    const found = vectors.logits.find(([token]) => token === context.target);
    if (found && !logits.includes(found)) logits[logits.length - 1] = found;
    const square = dot(vectors.final, vectors.final);
    const usual = 0.5 / square; // changes the logits by up to 0.5
    const target = Math.max(0, logits.findIndex(([token]) => token === context.target));
    const { values, setter } = context.settings("gradient", { right: target, power: 0, steps: 0 });
    const body = make("div");
    const result = make("p", { role: "status" });
    const run = (/** @type {number} */ steps) => descend(logits, vectors.log_sum, values.right, usual * 10 ** values.power, square, steps);
    const show = () => {
      const { right, steps } = values;
      const before = run(0);
      const after = run(steps);
      result.replaceChildren(`${steps === 0 ? "No step yet" : `After ${steps} step${steps === 1 ? "" : "s"}`}: the probability of `, make("b", visible(logits[right][0])),
        ` is ${percent(after[right])}, and the loss is ${num(-Math.log(after[right]), 3)}`, steps === 0 ? "." : ` (before: ${percent(before[right])} and ${num(-Math.log(before[right]), 3)}).`);
      body.replaceChildren(table("Probabilities and gradients", ["token", "gradient of its logit", "probability before", "probability now"], logits.map(([token], j) => [
        make(j === right ? "b.drawn" : "b", visible(token)), num(after[j] - (j === right ? 1 : 0), 3), shareBar(before[j]), shareBar(after[j])])));
    };
    const set = setter(show);
    show();
    return [
      make("p", "The example: after ", make("q", context.ending), " comes:"),
      dropdown("Right token", logits.map(([token]) => visible(token)), values.right, (right) => set({ right, steps: 0 })),
      slider("Learning rate: how far a step goes", { min: -1, max: 1, step: 0.25, value: values.power }, (power) => (usual * 10 ** power).toPrecision(2), (power) => set({ power, steps: 0 })),
      make("p.actions", button("Take a step", () => set({ steps: Math.min(MAX_STEPS, values.steps + 1) }), { className: "main" }), button("Start again", () => set({ steps: 0 }))),
      result, body];
  },
  question: "Over the whole vocabulary, the gradients of the logits add up to 0. Why?",
  answer: () => "The probabilities add up to 1, and 1 is subtracted once, at the right token. So the right token gains exactly what all others together lose.",
  code: ["return logits, F.cross_entropy(flat, targets.reshape(-1), ignore_index=-1)"],
  links: ["3b1b-gradient", "karpathy-micrograd", "olah-backprop"],
};
