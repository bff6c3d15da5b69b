// From tokens to text that may be shown, and when a text is finished, as runtime/stopping.py says.

const SPACE = /^(?!\ufeff)[\s\x1c-\x1f\x85]$/; // Python's str.isspace

export class TextStream {
  /** limits: {max_tokens, max_words, stop}. bytes: each token's text in UTF-8. prompt: the text before. */
  constructor({ max_tokens, max_words, stop }, bytes, prompt) {
    this.maxTokens = max_tokens ?? Infinity;
    this.maxWords = max_words ?? null;
    this.stop = [stop ?? []].flat();
    this.bytes = bytes;
    this.reason = null; // "stop" or "length" once the text is finished
    this.tokens = this.words = 0;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.held = ""; // may be the beginning of a stop string
    this.inWord = prompt !== "" && !SPACE.test(prompt.at(-1));
  }

  /** Take in a token: {text, shown}, what it says, and what may now be shown of this and earlier ones. */
  push(token) {
    this.tokens += 1;
    const text = this.decoder.decode(this.bytes[token], { stream: true });
    let shown = "";
    for (const character of text) {
      if (this.endsWith(character)) break;
      this.held += character;
      const stop = this.stop.filter((one) => this.held.endsWith(one)).sort((a, b) => b.length - a.length)[0];
      if (stop) {
        this.held = this.held.slice(0, -stop.length);
        this.reason = "stop";
        break;
      }
      const certain = this.held.length - this.waiting();
      shown += this.held.slice(0, certain);
      this.held = this.held.slice(certain);
    }
    if (this.reason === null && this.tokens >= this.maxTokens) this.reason = "length";
    return { text, shown: this.reason === null ? shown : shown + this.held };
  }

  /** End the text from outside. */
  finish(reason) {
    this.reason = reason;
  }

  /** Count words; true if the text ends before this character. */
  endsWith(character) {
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

  /** Length of the longest end of the held text that a stop string begins with. */
  waiting() {
    for (let length = this.held.length; length > 0; length--) {
      const end = this.held.slice(-length);
      if (this.stop.some((stop) => stop.length > length && stop.startsWith(end))) return length;
    }
    return 0;
  }
}

/** The first token that the model sees of so many: the window moves in strides of half a block (runtime/window.py). */
export function windowStart(length, blockSize) {
  const stride = Math.max(1, Math.floor(blockSize / 2));
  return length <= blockSize ? 0 : Math.ceil((length - blockSize) / stride) * stride;
}
