// @ts-check
// Generation of one text, from prompt to end: the engine of the static page.

/** @import { CompletionRequest, FinishReason, OnChunk, Token } from "../api/client.js" */
/** @import { Session } from "./kernel.js" */
/** @import { Model } from "./model.js" */

import { resolveEdits } from "./interventions.js";
import { TextStream, windowStart } from "./stopping.js";

const CHUNK_MS = 15; // milliseconds of work whose tokens make one chunk
const PREFILL_TOKENS = 32; // tokens of the prompt per call: messages are read between calls

/**
 * @typedef {object} Callbacks
 * @property {OnChunk} onChunk
 * @property {() => Promise<void>} yieldToEvents awaited between chunks
 * @property {() => boolean} isAborted
 * @property {() => number} [now] a clock in milliseconds
 */

/**
 * Continue a prompt.
 * @param {Model} model
 * @param {CompletionRequest} request
 * @param {Callbacks} callbacks
 * @returns {Promise<FinishReason>}
 */
export function generate(model, request, callbacks) {
  return model.kernel.withSession((session) => generateWith(session, model, request, callbacks));
}

/**
 * @param {Session} session
 * @param {Model} model
 * @param {CompletionRequest} request
 * @param {Callbacks} callbacks
 * @returns {Promise<FinishReason>}
 */
async function generateWith(session, model, request, callbacks) {
  const { onChunk, yieldToEvents, isAborted, now = () => performance.now() } = callbacks;
  const { prompt, seed = null, logprobs = 5 } = request;
  const { tokenizer } = model;
  const { eosIds, bytes, texts } = tokenizer;
  const { block_size } = session.config;
  const ids = tokenizer.encode(prompt);
  const edits = await resolveEdits(model, request.interventions ?? [], ids.length);
  const stream = new TextStream(request, bytes, tokenizer.normalize(tokenizer.splitSpecial(prompt).at(-1) ?? ""));
  const key = seed ?? crypto.getRandomValues(new BigUint64Array(1))[0];
  const chunk = { text: "", tokens: /** @type {Token[]} */ ([]) };
  /** @type {Token[]} */
  const held = []; // tokens held back because their text may be the beginning of a stop string
  let releasable = 0; // characters of the held tokens that may be shown
  let start = 0;
  let since = now();
  session.setEdits(edits);

  const send = () => {
    if (chunk.tokens.length) onChunk({ text: chunk.text, tokens: chunk.tokens.splice(0) });
    chunk.text = "";
  };
  const release = (/** @type {string} */ shown) => {
    releasable += shown.length;
    while (held.length && (held[0].text.length <= releasable || (stream.reason !== null && releasable > 0))) {
      const token = /** @type {Token} */ (held.shift());
      token.text = token.text.slice(0, releasable); // the last one may be cut off
      releasable -= token.text.length;
      chunk.text += token.text;
      chunk.tokens.push(token);
    }
  };

  while (stream.reason === null) {
    if (now() - since >= CHUNK_MS) {
      send();
      await yieldToEvents();
      since = now();
    }
    if (isAborted()) return "abort";
    const shifted = windowStart(ids.length, block_size);
    if (shifted !== start) { // learned positions cannot slide: re-encode the window
      start = shifted;
      session.length = 0;
      session.setEdits(edits, start);
    }
    const position = start + session.length;
    const end = Math.min(position + PREFILL_TOKENS, ids.length);
    session.run(ids.slice(position, end), end === ids.length);
    if (end < ids.length) continue;
    const id = session.sample(request, key, ids.length);
    if (eosIds.includes(id)) {
      stream.finish("stop");
      release(stream.held);
      break;
    }
    ids.push(id);
    const { text, shown } = stream.push(id);
    const { logprob, top } = session.logprobs(id, logprobs);
    held.push({ text, logprob, top: top.map(([other, value]) => [texts[other], value]) });
    release(shown);
  }
  send();
  return stream.reason ?? "stop";
}
