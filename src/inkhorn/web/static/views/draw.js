// @ts-check
// Sampling for the few tokens that the tour shows, by the rules of inference/sampling.py.

/** @typedef {[string, number][]} Probabilities tokens and their probabilities, the most likely first */

/**
 * Probabilities at another temperature, with only the k most likely tokens kept; they sum to 1.
 * @param {Probabilities} probabilities
 * @param {number} temperature
 * @param {number} k
 * @returns {Probabilities}
 */
export function rescale(probabilities, temperature, k) {
  const largest = probabilities[0][1];
  const weights = probabilities.map(([, probability], i) => (i < k && probability > 0 ? (probability / largest) ** (1 / temperature) : 0));
  const sum = weights.reduce((a, b) => a + b, 0);
  return probabilities.map(([token], i) => [token, weights[i] / sum]);
}

/**
 * The token that a random number in [0, 1) selects.
 * @param {Probabilities} probabilities
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
