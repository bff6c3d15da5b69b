// A GPT-1 or GPT-2 in plain JavaScript: the whole forward pass, one token at a time. sampling.js draws the next one.
//
// A matrix is kept as whole numbers of 8 bits with a scale for each output, and what goes into it is rounded to 16 bits.
// So the sums are exact in any order: plain.js makes them, simd.js the same ones much faster, and a text is the same in
// every browser. The model in NumPy, which this is tested against, is runtime/reference.py.
// C = n_embd, D = C / n_head, I = hidden units of the MLP, S = tokens so far with this one, V = size of the vocabulary.

import { NEAREST, exp } from "./exp.js";
import { plain } from "./kernels_scalar.js";

function erf(x) { // Abramowitz and Stegun 1964, 7.1.26
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - p * exp(-x * x));
}

function geluNew(x) { // 0.5 x (1 + tanh(z / 2)) with z / 2 = sqrt(2 / pi) (x + 0.044715 x**3), which is x / (1 + e**-z)
  const z = x * (1.5957691216057308 + 0.07135481627260025 * x * x);
  const e = exp(-Math.abs(z));
  return (x * (z < 0 ? e : 1)) / (1 + e);
}

const ACTIVATIONS = { relu: (x) => Math.max(x, 0), gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)), gelu_new: geluNew };

const padded = (n, to) => Math.ceil(n / to) * to;

/** The keys and values of the tokens that a text has so far, and room for one token's attention, in a memory of its own. */
export class Cache {
  constructor({ config: { n_layer, block_size, n_embd: C }, memory }) {
    this.block = padded(block_size, 16);
    this.size = this.block * C; // of a table: a layer's keys are (C, block), its values (block, C)
    this.query = 2 * n_layer * this.size + 16; // these are places, counted in floats; the first table is at 0
    this.mixed = this.query + C; // all heads' values, and 16 more as all that is written in groups of 16
    this.scores = padded(this.mixed + C + 16, 16);
    const { buffer, weigh } = memory(4 * (this.scores + this.block));
    Object.assign(this, { floats: new Float32Array(buffer), weigh, length: 0 });
  }
}

/** Do something with an empty cache. They are kept and lent again: browsers are slow to take such memories back. */
export async function withCache(gpt, act) {
  const cache = gpt.spare.pop() ?? new Cache(gpt);
  cache.length = 0;
  try {
    return await act(cache);
  } finally {
    gpt.spare.push(cache);
  }
}

/** e**(x / divisor), made to sum to 1. */
function softmax(x, divisor) {
  let largest = -Infinity, sum = 0;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, x[i]);
  for (let i = 0; i < x.length; i++) sum += x[i] = exp((x[i] - largest) / divisor);
  for (let i = 0; i < x.length; i++) x[i] /= sum;
}

/** config: of model.json. tensors: by name, {shape, data}; data of matrices is an Int8Array. */
export class GPT {
  constructor(config, tensors, memory = plain) { // or `simd`
    const { n_embd: C, inner: I, vocab_size: V } = config;
    const matrices = Object.keys(tensors).filter((name) => tensors[name].data instanceof Int8Array);
    const size = (name) => padded(tensors[name].shape[0], 16) * padded(tensors[name].shape[1], 2);
    this.sums = padded(2 * Math.max(C, I), 64); // where the sums lie; the rounded input lies at 0
    let end = this.sums + 4 * padded(Math.max(V, 3 * C, I), 16);
    const { buffer, multiply } = memory(matrices.reduce((bytes, name) => bytes + size(name), end));
    Object.assign(this, { config, memory, multiply, shorts: new Int16Array(buffer), longs: new Int32Array(buffer), weights: {} });
    for (const name of Object.keys(tensors)) this.weights[name] = tensors[name].data;
    for (const name of matrices) {
      this.weights[name] = this.pack(name, tensors[name], new Int8Array(buffer, end, size(name)));
      end += size(name);
    }
    const row = (length) => new Float64Array(length);
    Object.assign(this, { x: row(C), a: row(C), out: row(C), qkv: row(3 * C), hidden: row(I), logits: row(V) });
    this.spare = []; // caches
  }

  pack(name, { shape: [outputs, inputs], data }, packed) {
    const pairs = Math.ceil(inputs / 2), groups = Math.ceil(outputs / 16);
    const scale = this.weights[name.replace(/weight$/, "scale")];
    const bias = this.weights[name.replace(/weight$/, "bias")] ?? new Float32Array(outputs);
    let heaviest = 1; // the largest sum of a row's weights, signs apart: the input is kept so small that no sum overflows
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) {
        const weight = data[o * inputs + i];
        packed[(((o >> 4) * pairs + (i >> 1)) * 16 + (o & 15)) * 2 + (i & 1)] = weight;
        sum += Math.abs(weight);
      }
      heaviest = Math.max(heaviest, sum);
    }
    const limit = Math.min(32767, Math.floor(2147483647 / heaviest));
    return { at: packed.byteOffset, inputs, outputs, pairs, groups, scale, bias, limit };
  }

  /** y = W x + bias: (inputs) to (outputs). */
  linear(name, x, y) {
    const { at, inputs, outputs, pairs, groups, scale, bias, limit } = this.weights[name];
    const { shorts, longs } = this, sums = this.sums / 4;
    let largest = 1e-30;
    for (let i = 0; i < inputs; i++) largest = Math.max(largest, Math.abs(x[i]));
    const steps = limit / largest;
    for (let i = 0; i < inputs; i++) shorts[i] = x[i] * steps + NEAREST - NEAREST;
    if (inputs & 1) shorts[inputs] = 0;
    this.multiply(at, 0, this.sums, pairs, groups);
    for (let o = 0; o < outputs; o++) y[o] = (longs[sums + o] * scale[o]) / steps + bias[o];
  }

  /** y = x at mean 0 and variance 1, then gain and bias: (C) to (C). */
  norm(name, x, y) {
    const gain = this.weights[`${name}.weight`], bias = this.weights[`${name}.bias`], C = x.length;
    let mean = 0, variance = this.config.layer_norm_epsilon;
    for (let i = 0; i < C; i++) mean += x[i] / C;
    for (let i = 0; i < C; i++) variance += (x[i] - mean) ** 2 / C;
    const scale = 1 / Math.sqrt(variance);
    for (let i = 0; i < C; i++) y[i] = (x[i] - mean) * scale * gain[i] + bias[i];
  }

  /** Take in a token after those in the cache; gives the logits of the next (V) unless `reading`. `see(name, layer, numbers)`
   * is called with what is computed on the way; the numbers are overwritten by what follows. */
  forward(token, cache, see = null, reading = false) {
    const { config: { n_embd: C, n_layer, pre_norm }, weights, x, a, out } = this;
    for (let i = 0; i < C; i++) x[i] = weights["wte.weight"][token * C + i] + weights["wpe.weight"][cache.length * C + i]; // (C)
    see?.("resid", -1, x);
    for (let layer = 0; layer < n_layer; layer++) {
      for (const [part, ln] of [["attn", "ln_1"], ["mlp", "ln_2"]]) {
        const name = `h.${layer}.${ln}`;
        if (pre_norm) this.norm(name, x, a); else a.set(x); // GPT-2 norms what a part reads, GPT-1 what it leaves
        this[part](layer, cache, see); // (C) from a to out
        see?.(part, layer, out);
        for (let i = 0; i < C; i++) x[i] += out[i];
        if (!pre_norm) this.norm(name, x, x);
      }
      see?.("resid", layer, x);
    }
    cache.length++;
    return reading ? null : this.head(x);
  }

  /** What the residual stream says comes next: (C) to (V). */
  head(x) {
    if (this.config.pre_norm) this.norm("ln_f", x, this.a);
    this.linear("head.weight", this.config.pre_norm ? this.a : x, this.logits);
    return this.logits;
  }

  attn(layer, cache, see) {
    const { config: { n_embd: C, n_head }, qkv } = this, { floats, block, query, scores, mixed } = cache;
    const keys = 2 * layer * cache.size, values = keys + cache.size, D = C / n_head, S = cache.length + 1;
    this.linear(`h.${layer}.attn.c_attn.weight`, this.a, qkv); // (3C): the heads' queries, keys, values
    floats.set(qkv.subarray(0, C), query); // (C)
    for (let i = 0; i < C; i++) floats[keys + i * block + S - 1] = qkv[C + i]; // (C, S)
    floats.set(qkv.subarray(2 * C), values + (S - 1) * C); // (S, C)
    const shares = floats.subarray(scores, scores + S);
    for (let i = 0; i < C; i += D) { // the columns of a head; what is written beyond them, the next head writes anew
      cache.weigh(4 * (keys + i * block), 4 * (query + i), 4 * scores, D, Math.ceil(S / 16), 4 * block); // (D) to (S)
      softmax(shares, Math.sqrt(D));
      see?.("attention", layer, shares);
      cache.weigh(4 * (values + i), 4 * scores, 4 * (mixed + i), S, Math.ceil(D / 16), 4 * C); // (S) to (D)
    }
    this.a.set(floats.subarray(mixed, mixed + C)); // (C)
    this.linear(`h.${layer}.attn.c_proj.weight`, this.a, this.out); // (C) to (C)
  }

  mlp(layer, cache, see) {
    const { hidden } = this, activation = ACTIVATIONS[this.config.activation_function];
    this.linear(`h.${layer}.mlp.c_fc.weight`, this.a, hidden); // (C) to (I)
    for (let i = 0; i < hidden.length; i++) hidden[i] = activation(hidden[i]);
    see?.("hidden", layer, hidden);
    this.linear(`h.${layer}.mlp.c_proj.weight`, hidden, this.out); // (I) to (C)
  }
}
