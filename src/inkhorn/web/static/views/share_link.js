// A link that writes the same text again. A text is a prompt and one or more parts, each drawn with settings of its own:
// the first, and one for each Continue. All of it stands in the fragment, so no server sees it.

const FIELDS = ["words", "temperature", "top_k", "top_p", "min_p", "seed", "tokens"];

/** {prompt, model, fingerprint, parts: [{words, temperature, top_k, top_p, min_p, seed, tokens}]} to "#..." */
export function toFragment({ prompt, model, fingerprint, parts }) {
  const fields = new URLSearchParams({ prompt, model, weights: fingerprint });
  for (const part of parts) {
    const numbers = FIELDS.map((name) => part[name]).filter((value) => value !== null && value !== undefined);
    fields.append("part", numbers.join("_"));
  }
  return `#${fields}`;
}

/** The reverse; null if the fragment is no link to a text. */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const parts = fields.getAll("part").map((part) => {
    const numbers = part.split("_").map(Number);
    return { tokens: null, ...Object.fromEntries(numbers.map((number, i) => [FIELDS[i], number])) };
  });
  const whole = parts.every((part) => FIELDS.every((name) => part[name] === null || Number.isFinite(part[name])));
  if (!fields.has("prompt") || parts.length === 0 || !whole) return null;
  return { prompt: fields.get("prompt"), model: fields.get("model"), fingerprint: fields.get("weights"), parts };
}
