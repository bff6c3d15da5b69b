// @ts-check
// What each head looks at in a text: its mean attention weight on some kinds of earlier tokens, as inspection/head_scores.py.

/** @import { Explanation } from "../views/explanation.js" */

/**
 * @typedef {object} Behaviour
 * @property {string} name
 * @property {string} title
 * @property {string} about
 * @property {(tokens: string[], t: number, i: number) => boolean} looksAt whether token i is of this kind for the later token t
 *
 * @typedef {{ behaviour: Behaviour, layer: number, head: number, weight: number }} FoundHead
 */

/** @type {(tokens: string[], t: number, ends: RegExp) => number} */
const lastBefore = (tokens, t, ends) => tokens.findLastIndex((token, i) => i < t && ends.test(token));

/** @type {Behaviour[]} */
export const BEHAVIOURS = [
  { name: "previous_token", title: "The token before", about: "looks at the token just before. Later layers can build on this: each token then knows its neighbour.", looksAt: (_, t, i) => i === t - 1 },
  { name: "duplicate_token", title: "The same token, earlier", about: "looks at earlier places where the same token stood.", looksAt: (tokens, t, i) => tokens[i] === tokens[t] },
  { name: "induction", title: "What came next last time", about: "finds an earlier place where the same token stood, and looks at the token that came next there. This lets the model repeat names and phrases. Such a head is called an induction head.", looksAt: (tokens, t, i) => i > 0 && tokens[i - 1] === tokens[t] },
  { name: "line_start", title: "The last line break", about: "looks at the last line break. It can tell how far the line has come.", looksAt: (tokens, t, i) => i === lastBefore(tokens, t, /\n/) },
  { name: "word_start", title: "The start of the word", about: "looks at the space or line break before the word.", looksAt: (tokens, t, i) => i === lastBefore(tokens, t, /^[ \n]$/) },
  { name: "first_token", title: "The first token", about: "looks at the first token. Heads often rest there when they find nothing to fetch.", looksAt: (_, _t, i) => i === 0 },
];
const CLEAR = 0.16; // mean weight from which a behaviour is worth showing

/**
 * The mean weight of every head of a layer on the tokens of a behaviour, over the tokens that have any.
 * @param {Explanation} explanation
 * @param {Behaviour} behaviour
 * @returns {number[]}
 */
export function meanWeights(explanation, { looksAt }) {
  const { tokens, size, heads } = explanation;
  const sums = new Array(heads).fill(0);
  let rows = 0;
  for (let t = 1; t < size; t += 1) {
    const targets = [...Array(t).keys()].filter((i) => looksAt(tokens, t, i));
    if (targets.length === 0) continue;
    rows += 1;
    for (let head = 0; head < heads; head += 1) {
      const weights = explanation.attention(head, t);
      for (const i of targets) sums[head] += weights[i];
    }
  }
  return sums.map((sum) => (rows ? sum / rows : 0));
}

/**
 * The head with the clearest habit of each kind; the first of the list at least.
 * @param {Explanation[]} layers
 * @returns {FoundHead[]}
 */
export function findHeads(layers) {
  const found = BEHAVIOURS.map((behaviour) => {
    /** @type {FoundHead} */
    const best = { behaviour, layer: 0, head: 0, weight: -1 };
    for (const explanation of layers) {
      meanWeights(explanation, behaviour).forEach((weight, head) => {
        if (weight > best.weight) Object.assign(best, { layer: explanation.layer, head, weight });
      });
    }
    return best;
  });
  const clear = found.filter(({ weight }) => weight >= CLEAR);
  return clear.length ? clear : found.slice(0, 1);
}
