// e**x for x <= 0, with the same bits in every browser, which Math.exp need not have; runtime/sampling.py has the same.

const POWERS = Float64Array.from({ length: 1011 }, (_, n) => 2 ** -n);
const FACTORIALS = [1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800];
const SERIES = Float64Array.from(FACTORIALS.reverse(), (factorial) => 1 / factorial);
export const NEAREST = 6755399441055744; // added and taken away again, it rounds to the nearest whole number, ties to even

/** 2**n times a polynomial in the rest. */
export function exp(x) {
  if (x < -700) return 0;
  const n = x * 1.4426950408889634 + NEAREST - NEAREST; // x / ln 2
  const r = x - n * 6.93147180369123816490e-1 - n * 1.90821492927058770002e-10; // ln 2 in two parts
  let p = SERIES[0];
  for (let k = 1; k < 14; k++) p = p * r + SERIES[k];
  return p * POWERS[-n | 0];
}
