// @ts-check
// Which parts of the model matter for the last token of a text, as inspection/importance.py.

/** @import { ImportanceRequest, ImportanceResponse } from "../api/client.js" */
/** @import { Session } from "./kernel.js" */
/** @import { Model } from "./model.js" */

import { resolveEdits } from "./interventions.js";

const NUM_ABLATED = 40; // parts are switched off at so many of the last tokens
const CALL_TOKENS = 32;
const SITES = { head: 0, attn: 1, mlp: 2 };

/**
 * @param {Model} model
 * @param {ImportanceRequest} request
 * @param {() => Promise<void> | void} yieldToEvents awaited after each run
 * @param {(done: number, total: number) => void} onProgress
 * @returns {Promise<ImportanceResponse>}
 */
export async function importance(model, { text, add_special_tokens, interventions = [] }, yieldToEvents, onProgress) {
  const { metadata, kernel, tokenizer } = model;
  const { n_layer, n_head, block_size } = metadata.config;
  const all = tokenizer.encode(text);
  if (add_special_tokens && text !== "") all.unshift(...tokenizer.encode(""));
  if (all.length < 2) throw new Error("There is nothing to compare: the text needs at least two tokens.");
  const ids = all.slice(-block_size - 1);
  const start = all.length - ids.length;
  const given = await resolveEdits(model, interventions, all.length);
  const target = /** @type {number} */ (ids.pop());
  const first = Math.max(0, ids.length - NUM_ABLATED);
  const layers = [...Array(n_layer).keys()];
  const edit = (/** @type {keyof typeof SITES} */ site, /** @type {number} */ layer, head = 0) => ({ site: SITES[site], layer, head, scale: 0, first: start + first });
  const edits = [
    ...layers.flatMap((layer) => Array.from({ length: n_head }, (_, head) => edit("head", layer, head))),
    ...layers.map((layer) => edit("attn", layer)),
    ...layers.map((layer) => edit("mlp", layer)),
  ];
  const effects = await kernel.withSession(async (session) => {
    session.setEdits(given, start);
    run(session, ids, 0);
    const base = session.logprobs(target, 1).logprob;
    const found = [base];
    for (const each of edits) {
      await yieldToEvents();
      session.setEdits([...given, each], start);
      run(session, ids, first); // what was computed before stays
      found.push(session.logprobs(target, 1).logprob - base);
      onProgress(found.length - 1, edits.length);
    }
    return found;
  });
  const [logprob, ...rest] = effects.map((value) => Number(value.toFixed(4)));
  const heads = layers.map((layer) => rest.slice(layer * n_head, (layer + 1) * n_head));
  const after = n_layer * n_head;
  return {
    model: metadata.id,
    effects: { logprob, heads, attn: rest.slice(after, after + n_layer), mlp: rest.slice(after + n_layer) },
    direct: null,
  };
}

/**
 * Process the tokens from a position on, with the logits after the last one.
 * @param {Session} session
 * @param {number[]} ids
 * @param {number} start
 */
function run(session, ids, start) {
  session.length = start;
  for (let at = start; at < ids.length; at += CALL_TOKENS) session.run(ids.slice(at, at + CALL_TOKENS), at + CALL_TOKENS >= ids.length);
}
