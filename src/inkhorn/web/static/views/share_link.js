// @ts-check
// A link that generates the same text again. A text is a prompt and one or more segments, each with its own sampling
// settings: the first one, and one for each Continue. Everything is in the fragment, so no server sees it.

/** @import { Intervention } from "../api/client.js" */

import { decodeChange, encodeChange } from "./change_codes.js";

/**
 * @typedef {object} Segment
 * @property {number} words maximum number of words
 * @property {number} temperature
 * @property {number} top_k
 * @property {number} top_p
 * @property {number} min_p
 * @property {number} seed
 * @property {number | null} tokens number of tokens, if generation was stopped early
 *
 * @typedef {object} SharedText
 * @property {string} prompt
 * @property {string} model
 * @property {string} fingerprint
 * @property {Segment[]} segments
 * @property {Intervention[]} interventions
 */

const FIELDS = /** @type {const} */ (["words", "temperature", "top_k", "top_p", "min_p", "seed", "tokens"]);

/**
 * Whether segments are the first ones of others.
 * @param {Segment[]} first
 * @param {Segment[]} all
 */
export const isPrefix = (first, all) => first.every((segment, i) =>
  FIELDS.every((name) => (segment[name] ?? null) === (all[i]?.[name] ?? null)));

/** @param {SharedText} text */
export function toFragment({ prompt, model, fingerprint, segments, interventions }) {
  const fields = new URLSearchParams({ prompt, model, weights: fingerprint });
  for (const segment of segments) {
    const numbers = FIELDS.map((name) => segment[name]).filter((value) => value !== null && value !== undefined);
    fields.append("part", numbers.join("_"));
  }
  for (const change of interventions) fields.append("change", encodeChange(change));
  return `#${fields}`;
}

/**
 * The reverse of toFragment; null if the fragment is not a link to a text.
 * @param {string} fragment
 * @returns {SharedText | null}
 */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const prompt = fields.get("prompt");
  const segments = fields.getAll("part").map((part) => {
    const values = part.split("_").map(Number);
    return /** @type {Segment} */ ({ tokens: null, ...Object.fromEntries(values.map((value, i) => [FIELDS[i], value])) });
  });
  const complete = segments.every((segment) => FIELDS.every((name) => segment[name] === null || Number.isFinite(segment[name])));
  const interventions = fields.getAll("change").map(decodeChange).filter((change) => change !== null);
  if (prompt === null || segments.length === 0 || !complete || interventions.length < fields.getAll("change").length) return null;
  return { prompt, model: fields.get("model") ?? "", fingerprint: fields.get("weights") ?? "", segments, interventions };
}
