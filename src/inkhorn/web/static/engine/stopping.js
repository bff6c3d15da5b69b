// @ts-check
// From tokens to text that may be shown, and the stopping conditions, as inference/stopping.py defines them.

// biome-ignore lint/suspicious/noControlCharactersInRegex: U+001C to U+001F are white space in Python
const SPACE = /^(?!\ufeff)[\s\x1c-\x1f\x85]$/; // Python's str.isspace

export class TextStream {
  /**
   * @param {{ max_tokens?: number, max_words?: number | null, stop?: string | string[] }} limits
   * @param {Uint8Array[]} bytes the UTF-8 text of each token
   * @param {string} prompt
   */
  constructor({ max_tokens, max_words, stop }, bytes, prompt) {
    this.maxTokens = max_tokens ?? Infinity;
    this.maxWords = max_words ?? null;
    this.stop = [stop ?? []].flat();
    this.bytes = bytes;
    /** @type {"stop" | "length" | null} */
    this.reason = null; // why the text ended
    this.tokens = 0;
    this.words = 0;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.held = ""; // may be the beginning of a stop string
    this.inWord = prompt !== "" && !SPACE.test(prompt.slice(-1));
  }

  /**
   * Append a token. Returns its text, and the text that may now be shown of this and earlier tokens.
   * @param {number} token
   */
  push(token) {
    this.tokens += 1;
    const text = this.decoder.decode(this.bytes[token], { stream: true });
    let shown = "";
    for (const character of text) {
      if (this.reachesMaxWords(character)) break;
      this.held += character;
      const stop = this.stop.filter((one) => this.held.endsWith(one)).sort((a, b) => b.length - a.length)[0];
      if (stop) {
        this.held = this.held.slice(0, -stop.length);
        this.reason = "stop";
        break;
      }
      const certain = this.held.length - this.partialStopLength();
      shown += this.held.slice(0, certain);
      this.held = this.held.slice(certain);
    }
    if (this.reason === null && this.tokens >= this.maxTokens) this.reason = "length";
    return { text, shown: this.reason === null ? shown : shown + this.held };
  }

  /** @param {"stop" | "length"} reason */
  finish(reason) {
    this.reason = reason;
  }

  /**
   * Count words; true if the text ends before this character.
   * @param {string} character
   */
  reachesMaxWords(character) {
    if (!SPACE.test(character)) {
      if (!this.inWord) this.words += 1;
      this.inWord = true;
      return false;
    }
    const enough = this.inWord && this.maxWords !== null && this.words >= this.maxWords;
    this.inWord = false;
    if (enough) this.reason = "length";
    return enough;
  }

  /** Length of the longest suffix of the held text that is a prefix of a stop string. */
  partialStopLength() {
    for (let length = this.held.length; length > 0; length--) {
      const end = this.held.slice(-length);
      if (this.stop.some((stop) => stop.length > length && stop.startsWith(end))) return length;
    }
    return 0;
  }
}

/**
 * The first token in the context of a text of so many tokens. When the context is full it shifts by half a block
 * (inference/window.py, context_overflow "shift").
 * @param {number} length
 * @param {number} blockSize
 */
export function windowStart(length, blockSize) {
  const stride = Math.max(1, Math.floor(blockSize / 2));
  return length <= blockSize ? 0 : Math.ceil((length - blockSize) / stride) * stride;
}
