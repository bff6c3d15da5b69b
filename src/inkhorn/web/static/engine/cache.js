// @ts-check
// The key-value cache of a text.

/** @import { GPT } from "./gpt.js" */

/** @type {(n: number, multiple: number) => number} */
export const roundUp = (n, multiple) => Math.ceil(n / multiple) * multiple;

/** The key-value cache of one text, with scratch space for the attention of one token. Offsets count floats. */
export class Cache {
  /** @param {GPT} gpt */
  constructor({ config: { n_layer, block_size, n_embd: C }, kernels }) {
    this.block = roundUp(block_size, 16);
    this.size = this.block * C; // of a table: the keys of a layer are (C, block), its values (block, C)
    this.query = 2 * n_layer * this.size + 16;
    this.mixed = this.query + C; // the output of all heads, and 16 more because it is written in groups of 16
    this.scores = roundUp(this.mixed + C + 16, 16);
    const { buffer, weightedSum } = kernels(4 * (this.scores + this.block));
    this.floats = new Float32Array(buffer);
    this.weightedSum = weightedSum;
    this.length = 0; // tokens
  }
}

/**
 * Run a function with an empty cache. Caches are reused: browsers are slow to free such memories.
 * @template T
 * @param {GPT} gpt
 * @param {(cache: Cache) => Promise<T>} run
 */
export async function withCache(gpt, run) {
  const cache = gpt.spareCaches.pop() ?? new Cache(gpt);
  cache.length = 0;
  try {
    return await run(cache);
  } finally {
    gpt.spareCaches.push(cache);
  }
}
