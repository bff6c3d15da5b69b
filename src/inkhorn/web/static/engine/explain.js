// @ts-check
// The activations that the inspector shows, in the format of inference/explain.py.

/** @import { ExplainRequest, ExplainResponse, Vectors } from "../api/client.js" */
/** @import { Logprobs, Session, Trace } from "./kernel.js" */
/** @import { Model } from "./model.js" */

import { resolveEdits } from "./interventions.js";

const MAX_TOKENS = 256; // of a text, its last ones
const TOP = 10;
const MAX_VECTORS = 8; // of a text, its last tokens
const NUM_LOGITS = 100;
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

const rounded4 = (/** @type {Float32Array} */ values) => Array.from(values, (value) => rounded(value, 4));

/**
 * The vectors of one head at the rows of a trace.
 * @param {Trace} trace
 * @param {number} rows
 * @param {number} head
 */
function readVectors(trace, rows, head) {
  /** @type {(read: (row: number) => Float32Array) => number[][]} */
  const each = (read) => Array.from({ length: rows }, (_, row) => rounded4(read(row)));
  const [q, k, v] = [0, 1, 2].map((part) => each((row) => trace.qkv(head, row, part)));
  const [norm_in, norm_out, final] = [0, 1, 2].map((part) => rounded4(trace.norm(part)));
  return { wte: each(trace.token), wpe: each(trace.position), q, k, v, norm_in, norm_out, final };
}

/**
 * The largest logits after the last token, and the logarithm of the sum of the exponentials of all.
 * @param {Float32Array} logits
 * @param {string[]} texts of each token id
 */
function readLogits(logits, texts) {
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
  const largest = logits[order[0]];
  const log_sum = largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  const top = order.slice(0, NUM_LOGITS).map((id) => /** @type {[string, number]} */ ([texts[id], rounded(logits[id], 4)]));
  return { logits: top, log_sum: rounded(log_sum, 4) };
}

/**
 * Run the model over some tokens and keep what the answer needs. `yieldToEvents` is awaited after each call.
 * @param {Session} session
 * @param {number[]} ids
 * @param {number} layer
 * @param {number | null} head whose vectors are wanted
 * @param {() => Promise<void> | void} yieldToEvents
 */
async function traceTokens(session, ids, layer, head, yieldToEvents) {
  const { n_layer, n_head } = session.config;
  const depths = [...Array(n_layer + 1).keys()]; // blocks before the residual stream
  const triangle = (ids.length * (ids.length + 1)) / 2;
  const attention = new Uint8Array(n_head * triangle);
  const lens = depths.map(() => /** @type {Logprobs[]} */ ([]));
  const residual_rms = depths.map(() => /** @type {number[]} */ ([]));
  const update_rms = { attn: /** @type {number[]} */ ([]), mlp: /** @type {number[]} */ ([]) };
  const last = { wte: new Float32Array(), wpe: new Float32Array(), mlp: new Float32Array() };
  const first = Math.max(0, ids.length - MAX_VECTORS); // the last call is for the tokens whose vectors may be wanted
  let vectors;
  for (let start = 0, end = 0; start < ids.length; start = end) {
    end = start < first ? Math.min(start + CALL_TOKENS, first) : ids.length;
    const rows = ids.slice(start, end);
    const trace = session.trace(rows, layer);
    const { attention: weights, hidden, position, residual, token, update } = trace;
    for (let h = 0; h < n_head; h++) {
      for (let row = 0; row < rows.length; row++) {
        const t = start + row;
        const values = weights(h, row).subarray(0, t + 1);
        const largest = Math.max(...values); // becomes 255
        attention.set(values.map((weight) => Math.round((weight / largest) * 255)), h * triangle + (t * (t + 1)) / 2);
      }
    }
    for (const depth of depths) residual_rms[depth].push(...rows.map((_, row) => rms(residual(depth, row))));
    // Of these, the last call's remain.
    for (let i = 0; i < n_layer; i++) {
      update_rms.attn[i] = rms(update(i, 0));
      update_rms.mlp[i] = rms(update(i, 1));
    }
    Object.assign(last, { wte: token(rows.length - 1).slice(), wpe: position(rows.length - 1).slice(), mlp: hidden.slice() });
    if (head !== null && end === ids.length) vectors = { head, first, ids: rows, ...readVectors(trace, rows.length, head) };
    const targets = rows.map((_, row) => ids[start + row + 1] ?? 0); // the last token has none
    for (const depth of depths) lens[depth].push(...session.lens(residual(depth, 0), targets, depth === n_layer ? TOP : 1));
    await yieldToEvents();
  }
  return { attention, lens, residual_rms, update_rms, last, vectors };
}

/**
 * The same answer as the server's api/explain.
 * @param {Model} model
 * @param {Pick<ExplainRequest, "text" | "layer" | "head" | "interventions" | "add_special_tokens">} request
 * @param {() => Promise<void> | void} yieldToEvents
 * @returns {Promise<ExplainResponse>}
 */
export async function explain(model, { text, layer, head = null, interventions = [], add_special_tokens }, yieldToEvents = () => {}) {
  const { metadata, kernel, tokenizer } = model;
  const { n_layer, n_head, block_size } = metadata.config;
  if (!(layer >= 0 && layer < n_layer)) throw new Error(`Layer ${layer} does not exist: the model has layers 0 to ${n_layer - 1}.`);
  if (head !== null && !(head >= 0 && head < n_head)) throw new Error(`Head ${head} does not exist: a layer has heads 0 to ${n_head - 1}.`);
  const all = tokenizer.encode(text.slice(-MAX_TOKENS * 32));
  if (add_special_tokens && text !== "") all.unshift(...tokenizer.encode(""));
  const ids = all.slice(-Math.min(MAX_TOKENS, block_size));
  const edits = await resolveEdits(model, interventions, all.length);
  /** @type {Vectors | undefined} */
  let vectors;
  const { attention, lens, residual_rms, update_rms, last } = await kernel.withSession(async (session) => {
    session.setEdits(edits, all.length - ids.length);
    const traced = await traceTokens(session, ids, layer, head, yieldToEvents);
    if (traced.vectors) vectors = { ...traced.vectors, ...readLogits(session.logits, tokenizer.texts) };
    return traced;
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
    ...(vectors && { vectors }),
  };
}
