// @ts-check
// The activations that the inspector shows, in the format of inference/explain.py.

/** @import { ExplainRequest, ExplainResponse } from "../api/client.js" */
/** @import { Cache } from "./cache.js" */
/** @import { GPT } from "./gpt.js" */
/** @import { Model } from "./model.js" */

import { withCache } from "./cache.js";
import { exp } from "./exp.js";
import { logProbabilities, maxOf } from "./sampling.js";

const MAX_TOKENS = 256; // of a text, its last ones
const TOP = 10;

/** @typedef {Float64Array | Float32Array} Values */

/** Root mean square. @type {(values: Values) => number} */
function rms(values) {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum / values.length);
}

const rounded = (/** @type {number} */ value, /** @type {number} */ digits) => Number(value.toFixed(digits));

/** @param {Uint8Array} bytes */
function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

/** @param {Values} values */
function quantize(values) {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  const scale = largest / 127 || 1;
  return { scale, data: base64(new Uint8Array(Int8Array.from(values, (value) => Math.round(value / scale)).buffer)) };
}

/**
 * Run the model over some tokens and keep its activations. `yieldToEvents` is awaited after each, so that a text can be
 * generated meanwhile.
 * @param {GPT} gpt
 * @param {Cache} cache
 * @param {number[]} ids
 * @param {number} layer
 * @param {() => Promise<void> | void} yieldToEvents
 */
async function traceActivations(gpt, cache, ids, layer, yieldToEvents) {
  const { n_layer, n_head, n_embd: C, inner } = gpt.config;
  const triangle = (ids.length * (ids.length + 1)) / 2;
  const attention = new Uint8Array(n_head * triangle);
  const streams = Array.from({ length: n_layer + 1 }, () => ids.map(() => new Float64Array(C))); // after so many blocks
  const updateRms = { attn: /** @type {number[]} */ ([]), mlp: /** @type {number[]} */ ([]) };
  const hidden = new Float64Array(inner);
  for (const [t, id] of ids.entries()) {
    let head = 0;
    gpt.forward(id, cache, (name, at, values) => {
      if (name === "resid") streams[at + 1][t].set(values);
      if (name === "attn" || name === "mlp") updateRms[name][at] = rms(values); // the last token's remains
      if (name === "hidden" && at === layer) hidden.set(values);
      if (name !== "attention" || at !== layer) return;
      const largest = maxOf(values); // becomes 255
      const row = attention.subarray(head++ * triangle + (t * (t + 1)) / 2);
      for (const [s, weight] of values.entries()) row[s] = Math.round((weight / largest) * 255);
    }, false);
    await yieldToEvents();
  }
  return { attention, streams, updateRms, hidden };
}

/**
 * The same answer as the server's api/explain.
 * @param {Model} model
 * @param {Pick<ExplainRequest, "text" | "layer">} request
 * @param {() => Promise<void> | void} yieldToEvents
 * @returns {Promise<ExplainResponse>}
 */
export async function explain({ metadata, gpt, tokenizer }, { text, layer }, yieldToEvents = () => {}) {
  const { n_layer, n_head, n_embd: C, block_size } = gpt.config;
  if (!(layer >= 0 && layer < n_layer)) throw new Error(`Layer ${layer} does not exist: the model has layers 0 to ${n_layer - 1}.`);
  const all = tokenizer.encode(text.slice(-MAX_TOKENS * 32));
  const ids = all.slice(-Math.min(MAX_TOKENS, block_size));
  const { attention, streams, updateRms, hidden } = await withCache(gpt, (cache) => traceActivations(gpt, cache, ids, layer, yieldToEvents));
  const lens = { tokens: /** @type {string[][]} */ ([]), probs: /** @type {number[]} */ ([]), actual: /** @type {number[]} */ ([]) };
  /** @type {(number | null)[]} */
  const surprisal = [null];
  /** @type {[string, number][]} */
  let next = [];
  for (const [depth, stream] of streams.entries()) {
    const topTokens = [];
    for (const [t, x] of stream.entries()) {
      const logits = gpt.head(x);
      const { logprob, topIds } = logProbabilities(logits, depth === n_layer && t === ids.length - 1 ? TOP : 1);
      const probability = (/** @type {number} */ id) => exp(Math.min(logprob(id), 0));
      const following = t + 1 < ids.length ? logprob(ids[t + 1]) : -Infinity;
      topTokens.push(tokenizer.texts[topIds[0]]);
      lens.probs.push(Math.round(probability(topIds[0]) * 255));
      lens.actual.push(Math.round(exp(Math.min(following, 0)) * 255));
      if (depth === n_layer && t + 1 < ids.length) surprisal.push(rounded(Math.min(-following, 999), 3));
      next = topIds.map((id) => [tokenizer.texts[id], rounded(probability(id), 4)]);
      if (t % 16 === 0) await yieldToEvents();
    }
    lens.tokens.push(topTokens);
  }
  const last = ids[ids.length - 1];
  const row = (/** @type {string} */ table, /** @type {number} */ at) => gpt.weights[table].subarray(at * C, (at + 1) * C);
  return {
    model: metadata.id,
    tokens: ids.map((id) => tokenizer.texts[id]),
    start: all.length - ids.length,
    n_layer,
    n_head,
    layer,
    attention: base64(attention),
    surprisal,
    next,
    lens: { ...lens, probs: base64(Uint8Array.from(lens.probs)), actual: base64(Uint8Array.from(lens.actual)) },
    residual_rms: streams.map((stream) => stream.map((x) => rounded(rms(x), 3))),
    update_rms: { attn: updateRms.attn.map((size) => rounded(size, 3)), mlp: updateRms.mlp.map((size) => rounded(size, 3)) },
    last: { wte: quantize(row("wte.weight", last)), wpe: quantize(row("wpe.weight", ids.length - 1)), mlp: quantize(hidden) },
  };
}
