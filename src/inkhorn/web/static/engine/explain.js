// @ts-check
// The activations that the inspector shows, in the format of inference/explain.py.

/** @import { ExplainRequest, ExplainResponse } from "../api/client.js" */
/** @import { Logprobs, Session } from "./kernel.js" */
/** @import { Model } from "./model.js" */

import { resolveEdits } from "./interventions.js";

const MAX_TOKENS = 256; // of a text, its last ones
const TOP = 10;
const CALL_TOKENS = 32; // per call of the kernel: other texts are generated between calls

/** Root mean square. @type {(values: Float32Array) => number} */
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

/** @param {Float32Array} values */
function quantize(values) {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  const scale = largest / 127 || 1;
  return { scale, data: base64(new Uint8Array(Int8Array.from(values, (value) => Math.round(value / scale)).buffer)) };
}

/**
 * Run the model over some tokens and keep what the answer needs. `yieldToEvents` is awaited after each call.
 * @param {Session} session
 * @param {number[]} ids
 * @param {number} layer
 * @param {() => Promise<void> | void} yieldToEvents
 */
async function traceTokens(session, ids, layer, yieldToEvents) {
  const { n_layer, n_head } = session.config;
  const depths = [...Array(n_layer + 1).keys()]; // blocks before the residual stream
  const triangle = (ids.length * (ids.length + 1)) / 2;
  const attention = new Uint8Array(n_head * triangle);
  const lens = depths.map(() => /** @type {Logprobs[]} */ ([]));
  const residual_rms = depths.map(() => /** @type {number[]} */ ([]));
  const update_rms = { attn: /** @type {number[]} */ ([]), mlp: /** @type {number[]} */ ([]) };
  const last = { wte: new Float32Array(), wpe: new Float32Array(), mlp: new Float32Array() };
  for (let start = 0; start < ids.length; start += CALL_TOKENS) {
    const rows = ids.slice(start, start + CALL_TOKENS);
    const { attention: weights, hidden, position, residual, token, update } = session.trace(rows, layer);
    for (let head = 0; head < n_head; head++) {
      for (let row = 0; row < rows.length; row++) {
        const t = start + row;
        const values = weights(head, row).subarray(0, t + 1);
        const largest = Math.max(...values); // becomes 255
        attention.set(values.map((weight) => Math.round((weight / largest) * 255)), head * triangle + (t * (t + 1)) / 2);
      }
    }
    for (const depth of depths) residual_rms[depth].push(...rows.map((_, row) => rms(residual(depth, row))));
    // Of these, the last call's remain.
    for (let i = 0; i < n_layer; i++) {
      update_rms.attn[i] = rms(update(i, 0));
      update_rms.mlp[i] = rms(update(i, 1));
    }
    Object.assign(last, { wte: token.slice(), wpe: position.slice(), mlp: hidden.slice() });
    const targets = rows.map((_, row) => ids[start + row + 1] ?? 0); // the last token has none
    for (const depth of depths) lens[depth].push(...session.lens(residual(depth, 0), targets, depth === n_layer ? TOP : 1));
    await yieldToEvents();
  }
  return { attention, lens, residual_rms, update_rms, last };
}

/**
 * The same answer as the server's api/explain.
 * @param {Model} model
 * @param {Pick<ExplainRequest, "text" | "layer" | "interventions" | "add_special_tokens">} request
 * @param {() => Promise<void> | void} yieldToEvents
 * @returns {Promise<ExplainResponse>}
 */
export async function explain(model, { text, layer, interventions = [], add_special_tokens }, yieldToEvents = () => {}) {
  const { metadata, kernel, tokenizer } = model;
  const { n_layer, n_head, block_size } = metadata.config;
  if (!(layer >= 0 && layer < n_layer)) throw new Error(`Layer ${layer} does not exist: the model has layers 0 to ${n_layer - 1}.`);
  const all = tokenizer.encode(text.slice(-MAX_TOKENS * 32));
  if (add_special_tokens && text !== "") all.unshift(...tokenizer.encode(""));
  const ids = all.slice(-Math.min(MAX_TOKENS, block_size));
  const edits = await resolveEdits(model, interventions, all.length);
  const { attention, lens, residual_rms, update_rms, last } = await kernel.withSession((session) => {
    session.setEdits(edits, all.length - ids.length);
    return traceTokens(session, ids, layer, yieldToEvents);
  });
  const probability = (/** @type {number} */ logprob) => Math.exp(Math.min(logprob, 0));
  const bytes = (/** @type {number[]} */ probabilities) => base64(Uint8Array.from(probabilities, (p) => Math.round(p * 255)));
  const likeliest = lens.map((rows) => rows.map(({ top }) => top[0]));
  const following = lens.map((rows) => rows.map(({ logprob }, t) => (t + 1 < ids.length ? probability(logprob) : 0)));
  return {
    model: metadata.id,
    tokens: tokenizer.pieces(all).slice(-ids.length),
    start: all.length - ids.length,
    n_layer,
    n_head,
    layer,
    attention: base64(attention),
    surprisal: [null, ...lens[n_layer].slice(0, -1).map(({ logprob }) => rounded(Math.min(-logprob, 999), 3))],
    next: lens[n_layer][ids.length - 1].top.map(([id, logprob]) => [tokenizer.texts[id], rounded(probability(logprob), 4)]),
    lens: {
      tokens: likeliest.map((row) => row.map(([id]) => tokenizer.texts[id])),
      probs: bytes(likeliest.flat().map(([, logprob]) => probability(logprob))),
      actual: bytes(following.flat()),
    },
    residual_rms: residual_rms.map((row) => row.map((value) => rounded(value, 3))),
    update_rms: { attn: update_rms.attn.map((value) => rounded(value, 3)), mlp: update_rms.mlp.map((value) => rounded(value, 3)) },
    last: { wte: quantize(last.wte), wpe: quantize(last.wpe), mlp: quantize(last.mlp) },
  };
}
