// @ts-check
// A GPT-1 or GPT-2 in plain JavaScript: the forward pass, one token at a time. sampling.js draws the next token.
//
// A matrix is kept as int8 with a scale for each output, and its input is rounded to 16 bits. The sums are therefore exact
// in any order: kernels_scalar.js and kernels_wasm.js agree, and a seed gives the same text in every browser. It is tested
// against the NumPy model, inference/numpy_model.py.
// C = n_embd, D = C / n_head, I = hidden units of the MLP, S = tokens so far including this one, V = vocab_size.

/** @import { Cache } from "./cache.js" */

import { ACTIVATIONS } from "./activations.js";
import { roundUp } from "./cache.js";
import { exp, ROUNDING } from "./exp.js";
import { scalarKernels } from "./kernels_scalar.js";

/**
 * @typedef {object} Config
 * @property {number} n_layer
 * @property {number} n_head
 * @property {number} n_embd
 * @property {number} block_size
 * @property {number} vocab_size
 * @property {number} inner hidden units of the MLP
 * @property {boolean} pre_norm GPT-2; GPT-1 normalises after attention and MLP
 * @property {keyof typeof ACTIVATIONS} activation_function
 * @property {number} layer_norm_epsilon
 *
 * @typedef {{ shape: number[], data: Int8Array | Float32Array }} Tensor
 * @typedef {{ at: number, inputs: number, outputs: number, pairs: number, groups: number, scale: Float32Array, bias: Float32Array, limit: number }} Matrix
 * @typedef {(bytes: number) => ReturnType<typeof scalarKernels>} KernelFactory
 * @typedef {(name: "resid" | "attn" | "mlp" | "attention" | "hidden", layer: number, values: Float64Array | Float32Array) => void} Trace
 */

/** softmax(x / divisor) in place. @type {(x: Float32Array, divisor: number) => void} */
function softmax(x, divisor) {
  let largest = -Infinity;
  let sum = 0;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, x[i]);
  for (let i = 0; i < x.length; i++) sum += x[i] = exp((x[i] - largest) / divisor);
  for (let i = 0; i < x.length; i++) x[i] /= sum;
}

export class GPT {
  /**
   * @param {Config} config
   * @param {Record<string, Tensor>} tensors by name; matrices are int8
   * @param {KernelFactory} kernels
   */
  constructor(config, tensors, kernels = scalarKernels) {
    const { n_embd: C, inner: I, vocab_size: V } = config;
    const int8 = Object.keys(tensors).filter((name) => tensors[name].data instanceof Int8Array);
    /** @param {string} name */
    const size = (name) => roundUp(tensors[name].shape[0], 16) * roundUp(tensors[name].shape[1], 2);
    this.sums = roundUp(2 * Math.max(C, I), 64); // address of the sums; the rounded input is at 0
    let end = this.sums + 4 * roundUp(Math.max(V, 3 * C, I), 16);
    const { buffer, matvec } = kernels(int8.reduce((bytes, name) => bytes + size(name), end));
    this.config = config;
    this.kernels = kernels;
    this.matvec = matvec;
    this.int16 = new Int16Array(buffer);
    this.int32 = new Int32Array(buffer);
    /** @type {Record<string, Float32Array>} */
    this.weights = {};
    for (const [name, { data }] of Object.entries(tensors)) if (data instanceof Float32Array) this.weights[name] = data;
    /** @type {Record<string, Matrix>} */
    this.matrices = {};
    for (const name of int8) {
      this.matrices[name] = this.pack(name, tensors[name], new Int8Array(buffer, end, size(name)));
      end += size(name);
    }
    this.x = new Float64Array(C);
    this.a = new Float64Array(C);
    this.out = new Float64Array(C);
    this.qkv = new Float64Array(3 * C);
    this.hidden = new Float64Array(I);
    this.logits = new Float64Array(V);
    this.spareCaches = /** @type {Cache[]} */ ([]);
  }

  /**
   * @param {string} name
   * @param {Tensor} tensor
   * @param {Int8Array} packed
   * @returns {Matrix}
   */
  pack(name, { shape: [outputs, inputs], data }, packed) {
    const pairs = Math.ceil(inputs / 2);
    const groups = Math.ceil(outputs / 16);
    const scale = this.weights[name.replace(/weight$/, "scale")];
    const bias = this.weights[name.replace(/weight$/, "bias")] ?? new Float32Array(outputs);
    let largest = 1; // the largest sum of a row's absolute weights, which limits the input so that no sum overflows
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) {
        const weight = data[o * inputs + i];
        packed[(((o >> 4) * pairs + (i >> 1)) * 16 + (o & 15)) * 2 + (i & 1)] = weight;
        sum += Math.abs(weight);
      }
      largest = Math.max(largest, sum);
    }
    const limit = Math.min(32767, Math.floor(2147483647 / largest));
    return { at: packed.byteOffset, inputs, outputs, pairs, groups, scale, bias, limit };
  }

  /** y = W x + bias: (inputs) to (outputs). @type {(name: string, x: Float64Array, y: Float64Array) => void} */
  linear(name, x, y) {
    const { at, inputs, outputs, pairs, groups, scale, bias, limit } = this.matrices[name];
    const { int16, int32 } = this;
    const sums = this.sums / 4;
    let largest = 1e-30;
    for (let i = 0; i < inputs; i++) largest = Math.max(largest, Math.abs(x[i]));
    const steps = limit / largest;
    for (let i = 0; i < inputs; i++) int16[i] = x[i] * steps + ROUNDING - ROUNDING;
    if (inputs & 1) int16[inputs] = 0;
    this.matvec(at, 0, this.sums, pairs, groups);
    for (let o = 0; o < outputs; o++) y[o] = (int32[sums + o] * scale[o]) / steps + bias[o];
  }

  /** LayerNorm: (C) to (C). @type {(name: string, x: Float64Array, y: Float64Array) => void} */
  norm(name, x, y) {
    const gain = this.weights[`${name}.weight`];
    const bias = this.weights[`${name}.bias`];
    const C = x.length;
    let mean = 0;
    let variance = this.config.layer_norm_epsilon;
    for (let i = 0; i < C; i++) mean += x[i] / C;
    for (let i = 0; i < C; i++) variance += (x[i] - mean) ** 2 / C;
    const scale = 1 / Math.sqrt(variance);
    for (let i = 0; i < C; i++) y[i] = (x[i] - mean) * scale * gain[i] + bias[i];
  }

  /**
   * Append a token to the cache.
   * @param {number} token
   * @param {Cache} cache
   * @param {Trace | null} trace called with the activations; the arrays are overwritten by later steps
   * @param {boolean} wantLogits
   * @returns {Float64Array | null} (V) logits of the next token
   */
  forward(token, cache, trace = null, wantLogits = true) {
    const { config: { n_embd: C, n_layer, pre_norm }, weights, x, a, out } = this;
    for (let i = 0; i < C; i++) x[i] = weights["wte.weight"][token * C + i] + weights["wpe.weight"][cache.length * C + i];
    trace?.("resid", -1, x);
    for (let layer = 0; layer < n_layer; layer++) {
      for (const part of /** @type {const} */ (["attn", "mlp"])) {
        const norm = `h.${layer}.${part === "attn" ? "ln_1" : "ln_2"}`;
        if (pre_norm) this.norm(norm, x, a);
        else a.set(x);
        this[part](layer, cache, trace); // (C), from a to out
        trace?.(part, layer, out);
        for (let i = 0; i < C; i++) x[i] += out[i];
        if (!pre_norm) this.norm(norm, x, x);
      }
      trace?.("resid", layer, x);
    }
    cache.length++;
    return wantLogits ? this.head(x) : null;
  }

  /** Final norm and output projection: (C) to (V). @type {(x: Float64Array) => Float64Array} */
  head(x) {
    if (this.config.pre_norm) this.norm("ln_f", x, this.a);
    this.linear("head.weight", this.config.pre_norm ? this.a : x, this.logits);
    return this.logits;
  }

  /** @type {(layer: number, cache: Cache, trace: Trace | null) => void} */
  attn(layer, cache, trace) {
    const { config: { n_embd: C, n_head }, qkv } = this;
    const { floats, block, query, scores, mixed } = cache;
    const keys = 2 * layer * cache.size;
    const values = keys + cache.size;
    const D = C / n_head;
    const S = cache.length + 1;
    this.linear(`h.${layer}.attn.c_attn.weight`, this.a, qkv); // (3C): queries, keys and values of all heads
    floats.set(qkv.subarray(0, C), query); // (C)
    for (let i = 0; i < C; i++) floats[keys + i * block + S - 1] = qkv[C + i]; // (C, S)
    floats.set(qkv.subarray(2 * C), values + (S - 1) * C); // (S, C)
    const weights = floats.subarray(scores, scores + S);
    for (let i = 0; i < C; i += D) { // the columns of a head; whatever is written past them, the next head overwrites
      cache.weightedSum(4 * (keys + i * block), 4 * (query + i), 4 * scores, D, Math.ceil(S / 16), 4 * block); // (D) to (S)
      softmax(weights, Math.sqrt(D));
      trace?.("attention", layer, weights);
      cache.weightedSum(4 * (values + i), 4 * scores, 4 * (mixed + i), S, Math.ceil(D / 16), 4 * C); // (S) to (D)
    }
    this.a.set(floats.subarray(mixed, mixed + C)); // (C)
    this.linear(`h.${layer}.attn.c_proj.weight`, this.a, this.out); // (C) to (C)
  }

  /** @type {(layer: number, cache: Cache, trace: Trace | null) => void} */
  mlp(layer, _cache, trace) {
    const { hidden } = this;
    const activation = ACTIVATIONS[this.config.activation_function];
    this.linear(`h.${layer}.mlp.c_fc.weight`, this.a, hidden); // (C) to (I)
    for (let i = 0; i < hidden.length; i++) hidden[i] = activation(hidden[i]);
    trace?.("hidden", layer, hidden);
    this.linear(`h.${layer}.mlp.c_proj.weight`, hidden, this.out); // (I) to (C)
  }
}
