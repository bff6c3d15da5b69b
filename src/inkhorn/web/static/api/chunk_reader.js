// @ts-check
// From the choices of OpenAI's completions API to text and tokens.

/** @import { Chunk, FinishReason, Token } from "./client.js" */

/**
 * @typedef {object} Choice
 * @property {string} text
 * @property {FinishReason | null} finish_reason
 * @property {{ tokens: string[], token_logprobs: number[], top_logprobs: Record<string, number>[] } | null} logprobs
 */

/**
 * The bytes of a token, which OpenAI's API writes as bytes:\\xe2\\x80 if they are not whole characters.
 * @param {string} token
 */
function bytesOf(token) {
  const hexadecimal = /^bytes:((?:\\x[0-9a-f]{2})+)$/.exec(token)?.[1];
  if (hexadecimal === undefined) return new TextEncoder().encode(token);
  return Uint8Array.from(hexadecimal.split("\\x").slice(1), (byte) => Number.parseInt(byte, 16));
}

/** Turns the choices of a stream into chunks whose tokens, joined, are exactly the text. */
export class ChunkReader {
  constructor() {
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    /** @type {Token[]} */
    this.held = []; // tokens whose text has not arrived, or not all of it
    this.missing = ""; // text of the held tokens that has arrived
  }

  /**
   * With max_words the last token, which only shows that the word before it is complete, is not part of the text.
   * @param {Choice} choice
   * @returns {Chunk}
   */
  read({ text, finish_reason, logprobs }) {
    for (const [i, token] of (logprobs?.tokens ?? []).entries()) {
      const top = Object.entries(logprobs?.top_logprobs[i] ?? {}).sort((a, b) => b[1] - a[1]);
      /** @type {[string, number][]} */
      const shown = top.map(([one, logprob]) => [one.startsWith("bytes:\\x") ? "" : one, logprob]);
      this.held.push({ text: this.decoder.decode(bytesOf(token), { stream: true }), logprob: logprobs?.token_logprobs[i] ?? 0, top: shown });
    }
    this.missing += text;
    const tokens = [];
    while (this.held.length && (this.held[0].text.length <= this.missing.length || (finish_reason && this.missing))) {
      const token = /** @type {Token} */ (this.held.shift());
      token.text = this.missing.slice(0, token.text.length); // a stop string may cut off the end
      this.missing = this.missing.slice(token.text.length);
      tokens.push(token);
    }
    const last = tokens[tokens.length - 1];
    if (finish_reason && last) { // an incomplete character at the end
      last.text += this.missing;
      this.missing = "";
    }
    return { text, tokens };
  }
}
