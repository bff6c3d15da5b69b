// @ts-check
// Text to token ids and back, from tokenizer.json: a character vocabulary, or the byte-level BPE of GPT-2.

/** @import { PromptChange } from "../api/client.js" */

const WORDS = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/**
 * @typedef {object} TokenizerSpec the parts of tokenizer.json that are used
 * @property {{ vocab: Record<string, number>, merges: (string | [string, string])[] }} model
 * @property {{ use_regex?: boolean }} pre_tokenizer
 * @property {{ content: string, id: number }[]} added_tokens
 *
 * @typedef {object} TokenizerOptions the "tokens" of model.json
 * @property {number | null} bos_id starts an empty prompt
 * @property {number[]} eos_ids end a text
 * @property {number[]} banned_ids never sampled
 * @property {Record<string, string> | null} replacements of a character vocabulary: the replacement of each character
 */

/** GPT-2's printable symbol for each byte: itself where it is printable Latin-1, else the next from U+0100 on. */
function byteSymbols() {
  let next = 256;
  const printable = (/** @type {number} */ byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
}

export class Tokenizer {
  /**
   * @param {TokenizerSpec} spec
   * @param {TokenizerOptions} options
   * @param {number} vocabSize
   */
  constructor(spec, { bos_id, eos_ids, banned_ids, replacements }, vocabSize) {
    this.bosId = bos_id;
    this.eosIds = eos_ids;
    this.bannedIds = banned_ids;
    this.replacements = replacements && new Map(Object.entries(replacements));
    this.symbols = byteSymbols();
    this.ids = new Map(Object.entries(spec.model.vocab));
    this.ranks = new Map(spec.model.merges.map((merge, rank) => [typeof merge === "string" ? merge : merge.join(" "), rank]));
    this.words = spec.pre_tokenizer.use_regex === false ? /.+/gsu : WORDS;
    this.special = new Map(spec.added_tokens.map(({ content, id }) => [content, id]));
    const byteOf = new Map(this.symbols.map((symbol, byte) => [symbol, byte]));
    /** Each token in UTF-8; a token may hold part of a character. */
    this.bytes = Array.from({ length: vocabSize }, () => new Uint8Array());
    for (const [token, id] of this.ids) this.bytes[id] = Uint8Array.from(token, (symbol) => byteOf.get(symbol) ?? 0);
    for (const [token, id] of this.special) this.bytes[id] = new TextEncoder().encode(token);
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.texts = this.bytes.map((bytes) => decoder.decode(bytes));
    const banned = new Set(banned_ids);
    /** The token of each character of a character vocabulary. */
    this.characters = new Map(this.texts.map((text, id) => /** @type {const} */ ([text, id])).filter(([, id]) => !banned.has(id)));
  }

  /**
   * Ids of a text. Characters outside a character vocabulary are replaced by the closest match or dropped.
   * @param {string} text
   * @returns {number[]}
   */
  encode(text) {
    /** @type {number[]} */
    const ids = [];
    for (const part of this.splitSpecial(text.toWellFormed?.() ?? text)) {
      const special = this.special.get(part);
      if (special !== undefined) ids.push(special);
      else for (const [word] of this.normalize(part).matchAll(this.words)) ids.push(...this.encodeWord(word));
    }
    if (ids.length) return ids;
    if (this.bosId === null) throw new Error("This model has no start token: enter at least one character.");
    return [this.bosId];
  }

  /**
   * The text that each token completes. A token that ends within a character has an empty text.
   * @param {number[]} ids
   */
  pieces(ids) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return ids.map((id) => decoder.decode(this.bytes[id], { stream: true }));
  }

  /**
   * A prompt as the model reads it, and the characters that were replaced or left out; null if there are none.
   * @param {string} prompt
   * @returns {PromptChange | null}
   */
  promptChange(prompt) {
    const { replacements } = this;
    const parts = this.splitSpecial(prompt.toWellFormed?.() ?? prompt);
    const characters = replacements ? [...new Set(parts.filter((part) => !this.special.has(part)).join(""))] : [];
    const changed = characters.filter((character) => replacements?.get(character) !== character)
      .map((character) => ({ character, replacement: replacements?.get(character) ?? "" }));
    if (changed.length === 0) return null;
    return { text: parts.map((part) => (this.special.has(part) ? part : this.normalize(part))).join(""), characters: changed };
  }

  /** @param {string} text */
  normalize(text) {
    const { replacements } = this;
    if (!replacements) return text;
    const lines = replacements.get("\r") === "\n" ? text.replaceAll("\r\n", "\n") : text;
    return Array.from(lines, (character) => replacements.get(character) ?? "").join("");
  }

  /**
   * Split a text at special tokens, which are kept.
   * @param {string} text
   */
  splitSpecial(text) {
    const escaped = [...this.special.keys()].map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return escaped.length ? text.split(new RegExp(`(${escaped.join("|")})`, "u")) : [text];
  }

  /**
   * Byte-pair encoding: apply the merge of the lowest rank until none applies.
   * @param {string} word
   * @returns {number[]}
   */
  encodeWord(word) {
    if (this.replacements) return Array.from(word, (character) => idOf(this.characters, character));
    let tokens = Array.from(new TextEncoder().encode(word), (byte) => this.symbols[byte]);
    for (;;) {
      let best = Infinity;
      for (let i = 1; i < tokens.length; i++) best = Math.min(best, this.ranks.get(`${tokens[i - 1]} ${tokens[i]}`) ?? Infinity);
      if (best === Infinity) return tokens.map((token) => idOf(this.ids, token));
      const merged = [];
      for (let i = 0; i < tokens.length; i++) {
        const joins = this.ranks.get(`${tokens[i]} ${tokens[i + 1]}`) === best;
        merged.push(joins ? tokens[i] + tokens[++i] : tokens[i]);
      }
      tokens = merged;
    }
  }
}

/**
 * @param {Map<string, number>} ids
 * @param {string} token
 */
function idOf(ids, token) {
  const id = ids.get(token);
  if (id === undefined) throw new Error(`The vocabulary has no token for ${JSON.stringify(token)}.`);
  return id;
}
