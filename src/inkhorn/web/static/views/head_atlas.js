// @ts-check
// What the head atlas says of one head.

/** @import { Atlas } from "../api/client.js" */

import { make } from "./dom.js";

const NOTABLE = 0.2; // score of a behaviour worth naming
const NAMED = 2;

/**
 * Where a head looks, in words, such as "the token before (0.98)".
 * @param {Atlas} atlas
 * @param {number} layer
 * @param {number} head
 */
export function describeHead({ behaviours, scores }, layer, head) {
  const found = Object.entries(behaviours).map(([name, where]) => ({ where, score: scores[name][layer][head] ?? 0 })).sort((a, b) => b.score - a.score);
  const notable = found.filter(({ score }, i) => score >= NOTABLE && i < NAMED);
  if (notable.length === 0) return `at none of ${found.length} known kinds of tokens in particular`;
  return `at ${notable.map(({ where, score }) => `${where} (${score.toFixed(2)})`).join(" and ")}`;
}

/**
 * The link to the atlas; nothing if there is no such page.
 * @param {Atlas} atlas
 */
export const atlasLink = ({ page }) => (page ? [" ", make("a", { href: page, target: "_blank", rel: "noopener" }, "All heads")] : []);
