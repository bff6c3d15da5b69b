// @ts-check
// The two products of gpt.js in plain JavaScript. kernels_wasm.js computes the same bits faster where the browser can:
// integer sums are exact, and floats are added in the order written here, rounded to float32 each time.

const { fround, imul } = Math;

/**
 * A memory of so many bytes and the kernels that work in it. Addresses are in bytes.
 * @param {number} bytes
 */
export function scalarKernels(bytes) {
  const buffer = new ArrayBuffer(bytes);
  const words = new Int32Array(buffer); // each of four weights: two rows, two inputs each
  const shorts = new Int16Array(buffer);
  const floats = new Float32Array(buffer);

  /**
   * out[row] = sum of weights[row, i] * x[i] in integers: (groups, pairs, 16, 2) by (pairs, 2) to (groups, 16).
   * @param {number} weights
   * @param {number} x
   * @param {number} out
   * @param {number} pairs
   * @param {number} groups
   */
  function matvec(weights, x, out, pairs, groups) {
    for (let r = 0; r < 16 * groups; r += 4) {
      let a = 0, b = 0, c = 0, d = 0;
      let at = weights / 4 + (r >> 4) * pairs * 8 + (r & 15) / 2;
      for (let i = x / 2, end = i + 2 * pairs; i < end; i += 2, at += 8) {
        const u = shorts[i], v = shorts[i + 1], first = words[at], second = words[at + 1];
        a += imul((first << 24) >> 24, u) + imul((first << 16) >> 24, v);
        b += imul((first << 8) >> 24, u) + imul(first >> 24, v);
        c += imul((second << 24) >> 24, u) + imul((second << 16) >> 24, v);
        d += imul((second << 8) >> 24, u) + imul(second >> 24, v);
      }
      const to = out / 4 + r;
      words[to] = a;
      words[to + 1] = b;
      words[to + 2] = c;
      words[to + 3] = d;
    }
  }

  /**
   * out[c] = sum of x[r] * rows[r, c] in floats: (count) by (count, 16 * groups) to (groups, 16).
   * @param {number} rows
   * @param {number} x
   * @param {number} out
   * @param {number} count
   * @param {number} groups
   * @param {number} stride bytes from row to row
   */
  function weightedSum(rows, x, out, count, groups, stride) {
    for (let column = 0; column < 16 * groups; column += 4) {
      let a = 0, b = 0, c = 0, d = 0;
      let at = rows / 4 + column;
      for (let i = x / 4, end = i + count; i < end; i++, at += stride / 4) {
        const weight = floats[i];
        a = fround(a + fround(weight * floats[at]));
        b = fround(b + fround(weight * floats[at + 1]));
        c = fround(c + fround(weight * floats[at + 2]));
        d = fround(d + fround(weight * floats[at + 3]));
      }
      const to = out / 4 + column;
      floats[to] = a;
      floats[to + 1] = b;
      floats[to + 2] = c;
      floats[to + 3] = d;
    }
  }

  return { buffer, matvec, weightedSum };
}
