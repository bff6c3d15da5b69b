// @ts-check
// From logits to a token, as inference/sampling.py defines it: the same logits, seed and position give the same token.

import { exp } from "./exp.js";

/** @typedef {Float64Array | Float32Array} Logits */

const low64 = (/** @type {bigint} */ x) => BigInt.asUintN(64, x);

/**
 * The random number in [0, 1) for a position of a text: Philox4x64-10, the top 53 bits of its first word.
 * @param {number | bigint} seed
 * @param {number} sampleIndex
 * @param {number} position
 */
export function uniform(seed, sampleIndex, position) {
  let [c0, c1, c2, c3, k0, k1] = [low64(BigInt(position)), 0n, 0n, 0n, low64(BigInt(seed)), low64(BigInt(sampleIndex))];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xD2E7470EE14C6C93n * c0;
    const p1 = 0xCA5A826395121157n * c2;
    [c0, c1, c2, c3] = [(p1 >> 64n) ^ c1 ^ k0, low64(p1), (p0 >> 64n) ^ c3 ^ k1, low64(p0)];
    [k0, k1] = [low64(k0 + 0x9E3779B97F4A7C15n), low64(k1 + 0xBB67AE8584CAA73Bn)];
  }
  return Number(c0 >> 11n) * 2 ** -53;
}

/**
 * The largest value; NaN if there is a NaN.
 * @param {Logits} logits
 */
export function maxOf(logits) {
  let largest = -Infinity;
  for (let id = 0; id < logits.length; id++) largest = Math.max(largest, logits[id]);
  return largest;
}

/**
 * The token that `u` in [0, 1) selects. A logit of -Infinity is never drawn.
 * @param {Logits} logits
 * @param {{ temperature?: number, top_k?: number, top_p?: number, min_p?: number }} params
 * @param {number} u
 */
export function sample(logits, { temperature = 1, top_k = 0, top_p = 1, min_p = 0 }, u) {
  const largest = maxOf(logits);
  if (!Number.isFinite(largest)) throw new Error("Sampling failed: the model's weights contain invalid values.");
  if (temperature === 0) return logits.indexOf(largest);
  const byLogit = (/** @type {number} */ a, /** @type {number} */ b) => logits[b] - logits[a] || a - b;
  const byId = (/** @type {number} */ a, /** @type {number} */ b) => a - b;
  const weights = new Float64Array(logits.length);
  /** @type {number[]} */
  let ids = [];
  for (let id = 0; id < logits.length; id++) {
    weights[id] = exp((logits[id] - largest) / temperature);
    if (logits[id] > -Infinity) ids.push(id);
  }
  if (top_k > 0 && top_k < ids.length) ids = ids.sort(byLogit).slice(0, top_k).sort(byId);
  ids = ids.filter((id) => weights[id] > 0);
  const total = () => ids.reduce((sum, id) => sum + weights[id], 0);
  if (top_p < 1) {
    const bound = top_p * total();
    const order = [...ids].sort(byLogit);
    const last = firstAbove(order, weights, (sum) => sum >= bound);
    if (last >= 0) ids = order.slice(0, last + 1).sort(byId); // rounding may leave all of them below the bound
  }
  if (min_p > 0) ids = ids.filter((id) => weights[id] >= min_p);
  const bound = u * total();
  return ids[firstAbove(ids, weights, (sum) => sum > bound)] ?? ids[ids.length - 1];
}

/**
 * The index of the first id at which the running sum of the weights satisfies a condition, or -1.
 * @param {number[]} ids
 * @param {Float64Array} weights
 * @param {(sum: number) => boolean} condition
 */
function firstAbove(ids, weights, condition) {
  let sum = 0;
  return ids.findIndex((id) => {
    sum += weights[id];
    return condition(sum);
  });
}

/**
 * logprob(id): the log-probability of a token. topIds: the `count` most likely tokens, by (-logit, id).
 * @param {Logits} logits
 * @param {number} count
 */
export function logProbabilities(logits, count) {
  const largest = maxOf(logits);
  /** @type {number[]} */
  const topIds = []; // kept sorted, because a vocabulary may be large
  let sum = 0;
  for (let id = 0; id < logits.length; id++) {
    sum += exp(logits[id] - largest);
    let index = topIds.length;
    while (index > 0 && logits[topIds[index - 1]] < logits[id]) index--;
    if (index >= count) continue;
    topIds.splice(index, 0, id);
    if (topIds.length > count) topIds.pop();
  }
  const normalizer = largest + Math.log(sum);
  return { logprob: (/** @type {number} */ id) => logits[id] - normalizer, topIds };
}
