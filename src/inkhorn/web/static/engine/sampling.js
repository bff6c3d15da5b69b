// From logits to a token, as runtime/sampling.py defines it: the same logits, seed and place give the same token.

import { exp } from "./exp.js";

const low = (x) => BigInt.asUintN(64, x);

/** The random number in [0, 1) for a place in a text: Philox4x64-10, the top 53 bits of its first word. */
export function uniform(seed, choice, position) {
  let [c0, c1, c2, c3, k0, k1] = [low(BigInt(position)), 0n, 0n, 0n, low(BigInt(seed)), low(BigInt(choice))];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xD2E7470EE14C6C93n * c0;
    const p1 = 0xCA5A826395121157n * c2;
    [c0, c1, c2, c3] = [(p1 >> 64n) ^ c1 ^ k0, low(p1), (p0 >> 64n) ^ c3 ^ k1, low(p0)];
    [k0, k1] = [low(k0 + 0x9E3779B97F4A7C15n), low(k1 + 0xBB67AE8584CAA73Bn)];
  }
  return Number(c0 >> 11n) * 2 ** -53;
}

function largestOf(logits) {
  let largest = -Infinity;
  for (let id = 0; id < logits.length; id++) largest = Math.max(largest, logits[id]); // NaN if there is one
  return largest;
}

/** The token that `u` in [0, 1) picks. A logit of -Infinity is never drawn. */
export function sample(logits, { temperature = 1, top_k = 0, top_p = 1, min_p = 0 }, u) {
  const largest = largestOf(logits);
  if (!Number.isFinite(largest)) throw new Error("No token can be drawn: the model's weights are damaged.");
  if (temperature === 0) return logits.indexOf(largest);
  const likelierFirst = (a, b) => logits[b] - logits[a] || a - b;
  const inOrder = (a, b) => a - b;
  const weights = new Float64Array(logits.length);
  let ids = [];
  for (let id = 0; id < logits.length; id++) {
    weights[id] = exp((logits[id] - largest) / temperature);
    if (logits[id] > -Infinity) ids.push(id);
  }
  if (top_k > 0 && top_k < ids.length) ids = ids.sort(likelierFirst).slice(0, top_k).sort(inOrder);
  ids = ids.filter((id) => weights[id] > 0);
  const whole = () => ids.reduce((sum, id) => sum + weights[id], 0);
  if (top_p < 1) {
    const bound = top_p * whole();
    let sum = 0;
    const order = [...ids].sort(likelierFirst);
    const last = order.findIndex((id) => (sum += weights[id]) >= bound);
    if (last >= 0) ids = order.slice(0, last + 1).sort(inOrder); // rounding may leave all of them below the bound
  }
  if (min_p > 0) ids = ids.filter((id) => weights[id] >= min_p);
  const bound = u * whole();
  let sum = 0;
  return ids.find((id) => (sum += weights[id]) > bound) ?? ids.at(-1);
}

/** of(id): ln softmax(logits) of a token; likeliest: so many tokens by (-logit, id). */
export function logProbabilities(logits, count) {
  const largest = largestOf(logits);
  const likeliest = []; // kept in order while they come, for a vocabulary may be large
  let sum = 0;
  for (let id = 0; id < logits.length; id++) {
    sum += exp(logits[id] - largest);
    let place = likeliest.length;
    while (place > 0 && logits[likeliest[place - 1]] < logits[id]) place--;
    if (place >= count) continue;
    likeliest.splice(place, 0, id);
    if (likeliest.length > count) likeliest.pop();
  }
  const normalizer = largest + Math.log(sum);
  return { of: (id) => logits[id] - normalizer, likeliest };
}
