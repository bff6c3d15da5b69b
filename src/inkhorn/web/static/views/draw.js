// Drawing from odds, as inkhorn/runtime/sampling.py does it, for the few tokens that the tour shows.

/** [[token, probability]] at another temperature, with only the k likeliest left in; again to the sum of 1. */
export function odds(list, temperature, k) {
  const most = list[0][1];
  const weights = list.map(([, probability], i) => (i < k && probability > 0 ? (probability / most) ** (1 / temperature) : 0));
  const sum = weights.reduce((a, b) => a + b, 0);
  return list.map(([token], i) => [token, weights[i] / sum]);
}

/** The token that a number from 0 to 1 falls on. */
export function roll(list, number) {
  let rest = number;
  return list.find(([, probability]) => (rest -= probability) < 0) ?? list[0];
}
