// @ts-check
// Softmax, and sampling from a few tokens by the rules of inference/sampling.py.

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
