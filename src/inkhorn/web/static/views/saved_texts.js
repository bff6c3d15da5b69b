// @ts-check
// The texts of the page in session storage, so that neither a reload nor a step through the history loses them. Each
// entry of the history names its set of texts in history.state.texts.

/** @import { Intervention, Token } from "../api/client.js" */
/** @import { Segment } from "./share_link.js" */

/**
 * @typedef {object} SavedText
 * @property {string} prompt
 * @property {string} shownPrompt
 * @property {string} model
 * @property {string} fingerprint
 * @property {Segment[]} segments
 * @property {Segment[]} planned
 * @property {Token[]} tokens
 * @property {Intervention[]} [interventions]
 */

const PREFIX = `inkhorn-texts:${new URL("./", location.href).pathname}:`; // several pages may share a host
const KEPT = 5; // sets of texts

/** The numbers of the stored sets, the oldest first. */
function storedSets() {
  try {
    const keys = Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));
    return keys.map((key) => Number(key.slice(PREFIX.length))).sort((a, b) => a - b);
  } catch {
    return []; // storage is blocked
  }
}

/** The newest stored set; 0 if there is none. */
export const newestSet = () => storedSets().at(-1) ?? 0;

/**
 * Store the texts of a set. If they do not fit, older sets are dropped, then the alternatives of the tokens.
 * @param {number} set
 * @param {SavedText[]} texts
 */
export function saveTexts(set, texts) {
  const others = storedSets().filter((other) => other !== set);
  for (const old of others.splice(0, Math.max(0, others.length - KEPT + 1))) sessionStorage.removeItem(PREFIX + old);
  for (const alternatives of [true, false]) {
    const packed = JSON.stringify(texts.map((text) => ({ ...text, tokens: text.tokens.map((token) => pack(token, alternatives)) })));
    for (;;) {
      try {
        sessionStorage.setItem(PREFIX + set, packed);
        return;
      } catch {
        const old = others.shift();
        if (old === undefined) break;
        sessionStorage.removeItem(PREFIX + old);
      }
    }
  }
}

/**
 * The texts of a set; none if it is not stored.
 * @param {number} set
 * @returns {SavedText[]}
 */
export function loadTexts(set) {
  try {
    const texts = JSON.parse(sessionStorage.getItem(PREFIX + set) ?? "[]");
    return texts.map((/** @type {any} */ text) => ({ ...text, tokens: text.tokens.map(unpack) }));
  } catch {
    return [];
  }
}

/**
 * A token as a short list: text, log-probability, and the alternatives with theirs.
 * @param {Token} token
 * @param {boolean} alternatives
 */
const pack = ({ text, logprob, top }, alternatives) => {
  const rounded = (/** @type {number} */ value) => Number(value.toFixed(4));
  return [text, rounded(logprob), ...(alternatives ? top.flatMap(([one, value]) => [one, rounded(value)]) : [])];
};

/**
 * @param {[string, number, ...(string | number)[]]} packed
 * @returns {Token}
 */
function unpack([text, logprob, ...rest]) {
  /** @type {[string, number][]} */
  const top = [];
  for (let i = 0; i < rest.length; i += 2) top.push([String(rest[i]), Number(rest[i + 1])]);
  return { text, logprob, top };
}
