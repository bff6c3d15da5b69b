// The inside view's numbers, in the form of inkhorn/explain.py: what went on while the model read the end of a text.

import { exp } from "./exp.js";
import { withCache } from "./gpt.js";
import { logProbabilities } from "./sampling.js";

const MOST = 256; // tokens of a text, its last ones
const LIKELIEST = 10;

const rms = (values) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
const rounded = (value, digits) => Number(value.toFixed(digits));

function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

/** Numbers as whole ones within +-127, times a scale. */
function vector(values) {
  const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127 || 1;
  return { scale, data: base64(new Uint8Array(Int8Array.from(values, (value) => Math.round(value / scale)).buffer)) };
}

/** Read some tokens and keep what `explain` tells of. `turn` is awaited after each, so that a text may go on meanwhile. */
async function read(gpt, cache, ids, layer, turn) {
  const { n_layer, n_head, n_embd: C } = gpt.config;
  const triangle = (ids.length * (ids.length + 1)) / 2;
  const attention = new Uint8Array(n_head * triangle);
  const streams = Array.from({ length: n_layer + 1 }, () => ids.map(() => new Float64Array(C))); // after so many blocks
  const added = { attn: [], mlp: [] };
  let hidden = null;
  for (const [t, id] of ids.entries()) {
    let head = 0;
    gpt.forward(id, cache, (name, at, values) => {
      if (name === "resid") streams[at + 1][t].set(values);
      if (name in added) added[name][at] = rms(values); // the last token's stays
      if (name === "hidden" && at === layer) hidden = values.slice();
      if (name !== "attention" || at !== layer) return;
      const most = values.reduce((a, b) => Math.max(a, b)); // becomes 255
      const row = attention.subarray(head++ * triangle + (t * (t + 1)) / 2);
      for (const [s, share] of values.entries()) row[s] = Math.round((share / most) * 255);
    }, true);
    await turn();
  }
  return { attention, streams, added, hidden };
}

/** request: {model, text, layer}. The answer is the one of the server's api/explain. */
export async function explain({ facts, gpt, tokenizer }, { text, layer }, turn = () => {}) {
  const { n_layer, n_head, n_embd: C, block_size } = gpt.config;
  if (!(layer >= 0 && layer < n_layer)) throw new Error(`There is no layer ${layer}: the model has ${n_layer}, from 0.`);
  const all = tokenizer.encode(text.slice(-MOST * 32));
  const ids = all.slice(-Math.min(MOST, block_size));
  const { attention, streams, added, hidden } = await withCache(gpt, (cache) => read(gpt, cache, ids, layer, turn));
  const lens = { tokens: [], probs: [], actual: [] };
  const surprise = [null];
  let next = null;
  for (const [depth, stream] of streams.entries()) {
    const said = [];
    for (const [t, x] of stream.entries()) {
      const logits = gpt.head(x);
      const { of, likeliest } = logProbabilities(logits, depth === n_layer && t === ids.length - 1 ? LIKELIEST : 1);
      const odds = (id) => exp(Math.min(of(id), 0));
      const following = t + 1 < ids.length ? of(ids[t + 1]) : -Infinity;
      said.push(tokenizer.texts[likeliest[0]]);
      lens.probs.push(Math.round(odds(likeliest[0]) * 255));
      lens.actual.push(Math.round(exp(Math.min(following, 0)) * 255));
      if (depth === n_layer && t + 1 < ids.length) surprise.push(rounded(Math.min(-following, 999), 3));
      next = likeliest.map((id) => [tokenizer.texts[id], rounded(odds(id), 4)]);
      if (t % 16 === 0) await turn();
    }
    lens.tokens.push(said);
  }
  const last = ids.at(-1);
  const row = (table, at) => gpt.weights[table].subarray(at * C, (at + 1) * C);
  return {
    model: facts.id,
    tokens: ids.map((id) => tokenizer.texts[id]),
    start: all.length - ids.length,
    n_layer,
    n_head,
    layer,
    attention: base64(attention),
    surprise,
    next,
    lens: { ...lens, probs: base64(Uint8Array.from(lens.probs)), actual: base64(Uint8Array.from(lens.actual)) },
    residual: streams.map((stream) => stream.map((x) => rounded(rms(x), 3))),
    added: { attn: added.attn.map((size) => rounded(size, 3)), mlp: added.mlp.map((size) => rounded(size, 3)) },
    last: { wte: vector(row("wte.weight", last)), wpe: vector(row("wpe.weight", ids.length - 1)), mlp: vector(hidden) },
  };
}
