// @ts-check
// The note about a prompt that the model cannot read as it was given.

/** @import { PromptChange } from "../api/client.js" */

import { visible } from "./dom.js";

const MAX_CHARACTERS = 12; // in a note

/**
 * What the model does not read as it was given.
 * @param {PromptChange} change
 */
export function describeChange({ characters }) {
  if (characters.length === 0) return "This model’s tokenizer changes case or spacing. The text below starts with the prompt as the model reads it.";
  const shown = characters.slice(0, MAX_CHARACTERS).map(({ character, replacement }) =>
    `${nameOf(character)} ${replacement === "" ? "(left out)" : `(replaced by ${visible(replacement)})`}`);
  const more = characters.length > MAX_CHARACTERS ? ` and ${characters.length - MAX_CHARACTERS} more` : "";
  return `Not in this model’s vocabulary: ${shown.join(", ")}${more}. The text below starts with the prompt as the model reads it.`;
}

/**
 * A character, or its code point if it cannot be seen.
 * @param {string} character
 */
function nameOf(character) {
  const shown = visible(character);
  return /^[\p{C}\p{M}\p{Z}]$/u.test(shown) ? `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}` : shown;
}
