// @ts-check
// Generation of one text, from prompt to end: the engine of the static page.

/** @import { CompletionRequest, FinishReason, OnChunk, Token } from "../api/client.js" */
/** @import { Cache } from "./cache.js" */
/** @import { Model } from "./model.js" */

import { withCache } from "./cache.js";
import { logProbabilities, sample, uniform } from "./sampling.js";
import { TextStream, windowStart } from "./stopping.js";

const CHUNK_MS = 15; // milliseconds of work whose tokens make one chunk

/**
 * @typedef {object} Callbacks
 * @property {OnChunk} onChunk
 * @property {() => Promise<void>} yieldToEvents awaited between chunks
 * @property {() => boolean} isAborted
 * @property {() => number} [now] a clock in milliseconds
 */

/**
 * Continue a prompt.
 * @param {Pick<Model, "gpt" | "tokenizer">} model
 * @param {CompletionRequest} request
 * @param {Callbacks} callbacks
 * @returns {Promise<FinishReason>}
 */
export function generate(model, request, callbacks) {
  return withCache(model.gpt, (cache) => generateWith(cache, model, request, callbacks));
}

/**
 * @param {Cache} cache
 * @param {Pick<Model, "gpt" | "tokenizer">} model
 * @param {CompletionRequest} request
 * @param {Callbacks} callbacks
 * @returns {Promise<FinishReason>}
 */
async function generateWith(cache, { gpt, tokenizer }, request, callbacks) {
  const { onChunk, yieldToEvents, isAborted, now = () => performance.now() } = callbacks;
  const { prompt, seed = null, logprobs = 5 } = request;
  const { eosId, bannedIds, bytes, texts } = tokenizer;
  const ids = tokenizer.encode(prompt);
  const stream = new TextStream(request, bytes, tokenizer.normalize(tokenizer.splitSpecial(prompt).at(-1) ?? ""));
  const key = seed ?? crypto.getRandomValues(new BigUint64Array(1))[0];
  const chunk = { text: "", tokens: /** @type {Token[]} */ ([]) };
  /** @type {Token[]} */
  const held = []; // tokens held back because their text may be the beginning of a stop string
  let releasable = 0; // characters of the held tokens that may be shown
  let start = 0;
  let since = now();

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
    const shifted = windowStart(ids.length, gpt.config.block_size);
    if (shifted !== start) { // learned positions cannot slide: re-encode the window
      start = shifted;
      cache.length = 0;
    }
    const position = start + cache.length;
    const logits = gpt.forward(ids[position], cache, null, position + 1 === ids.length);
    if (logits === null) continue;
    const { logprob, topIds } = logProbabilities(logits, logprobs);
    /** @type {[string, number][]} */
    const top = topIds.map((id) => [texts[id], logprob(id)]);
    for (const id of bannedIds) logits[id] = -Infinity;
    const id = sample(logits, request, uniform(key, 0, ids.length));
    if (id === eosId) {
      stream.finish("stop");
      release(stream.held);
      break;
    }
    ids.push(id);
    const { text, shown } = stream.push(id);
    held.push({ text, logprob: logprob(id), top });
    release(shown);
  }
  send();
  return stream.reason ?? "stop";
}
