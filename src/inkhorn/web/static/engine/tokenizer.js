// Text to token ids and back: a character vocabulary, or the byte-level BPE of GPT-2, both from tokenizer.json.

const WORDS = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** GPT-2's printable stand-in for each byte: itself where it is printable Latin-1, else the next from U+0100 on. */
function byteSymbols() {
  let next = 256;
  const printable = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

export class Tokenizer {
  /** spec: tokenizer.json. facts: the tokens of model.json. size: of the vocabulary. */
  constructor(spec, { start, end, never, nearest }, size) {
    Object.assign(this, { start, end, never, nearest: nearest && new Map(Object.entries(nearest)) });
    this.symbols = byteSymbols();
    this.ids = new Map(Object.entries(spec.model.vocab));
    this.ranks = new Map(spec.model.merges.map((merge, rank) => [typeof merge === "string" ? merge : merge.join(" "), rank]));
    this.words = spec.pre_tokenizer.use_regex === false ? /[^]+/gu : WORDS;
    this.special = new Map(spec.added_tokens.map(({ content, id }) => [content, id]));
    const byteOf = new Map(this.symbols.map((symbol, byte) => [symbol, byte]));
    /** Each token's text in UTF-8; a token may hold part of a character. */
    this.bytes = Array.from({ length: size }, () => new Uint8Array());
    for (const [token, id] of this.ids) this.bytes[id] = Uint8Array.from(token, (symbol) => byteOf.get(symbol));
    for (const [token, id] of this.special) this.bytes[id] = new TextEncoder().encode(token);
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.texts = this.bytes.map((bytes) => decoder.decode(bytes));
  }

  /** Ids of a text. Characters that a character vocabulary lacks become the nearest that it has, or are left out. */
  encode(text) {
    const ids = [];
    for (const part of this.parts(text.toWellFormed?.() ?? text)) {
      if (this.special.has(part)) ids.push(this.special.get(part));
      else for (const [word] of this.fitted(part).matchAll(this.words)) ids.push(...this.encodeWord(word));
    }
    if (ids.length) return ids;
    if (this.start === null) throw new Error("This model names no token to start from: give at least one character.");
    return [this.start];
  }

  fitted(text) {
    if (!this.nearest) return text;
    const lines = this.nearest.get("\r") === "\n" ? text.replaceAll("\r\n", "\n") : text;
    return Array.from(lines, (character) => this.nearest.get(character) ?? "").join("");
  }

  /** The text between special tokens, and these. */
  parts(text) {
    const escaped = [...this.special.keys()].map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return escaped.length ? text.split(new RegExp(`(${escaped.join("|")})`, "u")) : [text];
  }

  /** Byte-pair encoding: again and again the pair that was merged first in training, until no pair is known. */
  encodeWord(word) {
    if (this.nearest) return this.characterIds(word);
    let tokens = Array.from(new TextEncoder().encode(word), (byte) => this.symbols[byte]);
    for (;;) {
      let best = Infinity;
      for (let i = 1; i < tokens.length; i++) best = Math.min(best, this.ranks.get(`${tokens[i - 1]} ${tokens[i]}`) ?? Infinity);
      if (best === Infinity) return tokens.map((token) => this.ids.get(token));
      const merged = [];
      for (let i = 0; i < tokens.length; i++) {
        const joins = this.ranks.get(`${tokens[i]} ${tokens[i + 1]}`) === best;
        merged.push(joins ? tokens[i] + tokens[++i] : tokens[i]);
      }
      tokens = merged;
    }
  }

  characterIds(text) {
    this.characters ??= new Map(this.texts.map((one, id) => [one, id]).filter(([, id]) => !this.never.includes(id)));
    return Array.from(text, (character) => this.characters.get(character));
  }
}
