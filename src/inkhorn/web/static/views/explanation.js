// @ts-check
// The activations of one text and one layer, decoded from the client's answer.

/** @import { Client, ExplainRequest, ExplainResponse, QuantizedVector } from "../api/client.js" */

import { endOf } from "./dom.js";

/** @param {string} base64 */
function decode(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** @param {QuantizedVector} vector */
function dequantize({ scale, data }) {
  return Float32Array.from(new Int8Array(decode(data).buffer), (value) => value * scale);
}

export class Explanation {
  /**
   * @param {ExplainResponse} response
   * @param {boolean} fromStart whether the start token was put before the text
   */
  constructor(response, fromStart = false) {
    this.response = response;
    this.tokens = response.tokens;
    const hasStart = fromStart && response.start === 0;
    this.texts = hasStart ? ["", ...response.tokens.slice(1)] : response.tokens; // what each token adds to the text
    this.size = response.tokens.length;
    this.layer = response.layer;
    this.layers = response.n_layer;
    this.heads = response.n_head;
    this.next = response.next;
    this.vectors = response.vectors;
    this.updateRms = response.update_rms;
    this.packed = decode(response.attention);
    this.probs = decode(response.lens.probs);
    this.actual = decode(response.lens.actual);
  }

  /**
   * The attention weights of token t over the tokens up to t; they sum to 1.
   * @param {number} head
   * @param {number} t
   */
  attention(head, t) {
    const start = (head * this.size * (this.size + 1)) / 2 + (t * (t + 1)) / 2;
    const row = this.packed.subarray(start, start + t + 1);
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    return Float32Array.from(row, (value) => value / sum);
  }

  /**
   * The prediction for the token after t from the residual stream after `depth` blocks; actual: the probability of the
   * token that does follow.
   * @param {number} depth
   * @param {number} t
   */
  lens(depth, t) {
    const at = depth * this.size + t;
    return { token: this.response.lens.tokens[depth][t], probability: this.probs[at] / 255, actual: this.actual[at] / 255 };
  }

  /**
   * Root mean square of the residual stream at token t, before the first block and after each.
   * @param {number} t
   */
  residualRms(t) {
    return this.response.residual_rms.map((row) => row[t]);
  }

  /**
   * Of the last token: its row of wte or wpe, or the hidden layer of this block's MLP.
   * @param {"wte" | "wpe" | "mlp"} name
   */
  last(name) {
    return dequantize(this.response.last[name]);
  }
}

/** Asks the client once for each text and layer. */
export class Explainer {
  /** @param {Client} client */
  constructor(client) {
    this.client = client;
    /** @type {Map<string, Promise<Explanation>>} */
    this.cache = new Map();
  }

  /**
   * Explain the end of a text. Only the end is sent, because the model sees no more than its context.
   * @param {ExplainRequest} request
   */
  explain({ model, text, layer, head = null, add_special_tokens = false, interventions = [] }) {
    const end = endOf(text, 4096);
    const key = JSON.stringify([model, layer, head, end, add_special_tokens, interventions]);
    const cached = this.cache.get(key);
    if (cached) return cached;
    if (this.cache.size > 40) this.cache.clear();
    const answer = this.client.explain({ model, text: end, layer, head, add_special_tokens, interventions })
      .then((response) => new Explanation(response, add_special_tokens));
    answer.catch(() => this.cache.delete(key)); // so that it can be tried again
    this.cache.set(key, answer);
    return answer;
  }
}
