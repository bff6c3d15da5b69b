// @ts-check
// e**x for x <= 0 with the same bits in every browser, which Math.exp does not guarantee. inference/sampling.py has the same.

const POWERS = Float64Array.from({ length: 1011 }, (_, n) => 2 ** -n);
const FACTORIALS = [1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800];
const SERIES = Float64Array.from(FACTORIALS.reverse(), (factorial) => 1 / factorial);

/** 1.5 * 2**52: x + ROUNDING - ROUNDING is x rounded to the nearest integer, ties to even. */
export const ROUNDING = 6755399441055744;

/**
 * 2**n times a Taylor polynomial of the remainder.
 * @param {number} x
 */
export function exp(x) {
  if (x < -700) return 0;
  const n = x * Math.LOG2E + ROUNDING - ROUNDING; // x / ln 2
  const r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10; // ln 2 in two parts
  let p = SERIES[0];
  for (let k = 1; k < 14; k++) p = p * r + SERIES[k];
  return p * POWERS[-n | 0];
}
