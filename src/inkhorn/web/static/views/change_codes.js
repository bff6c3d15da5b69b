// @ts-check
// Interventions as short texts: in words for the reader, and as codes for links.

/** @import { Intervention } from "../api/client.js" */

const LETTERS = /** @type {const} */ ({ head: "h", attn: "a", mlp: "m", layer: "l", resid: "r" });
const WORDS = { head: "", attn: " attention", mlp: " MLP", layer: "", resid: " stream" };
const NUMBER = "-?\\d+(?:\\.\\d+)?";
const CODE = new RegExp(`^([hamlr])(\\d+)(?:\\.(\\d+))?(?:(z)|(n)|x(${NUMBER})|v(${NUMBER})~([\\w.-]+)|p(-?\\d+)~(-?\\d+)~([^]*))$`);

/** A factor with its sign. */
export const signed = (/** @type {number} */ factor) => `${factor < 0 ? "−" : "+"}${Math.abs(factor)}`;

/** The part of the model, such as L1H3. @type {(change: Intervention) => string} */
const partOf = ({ component, layer, head = 0 }) => `L${layer + 1}${component === "head" ? `H${head + 1}` : WORDS[component]}`;

/** @type {(change: Intervention) => boolean} */
const isOff = ({ action = "zero" }) => action === "zero" || action === "mean";

/** One change in words. @type {(change: Intervention) => string} */
export function nameOfChange(change) {
  const { action = "zero", factor = 1, vector, prompt = "" } = change;
  if (action === "scale") return `${partOf(change)} × ${factor}`;
  if (action === "add") return `${typeof vector === "string" ? vector : "vector"} ${signed(factor)}`;
  if (action === "patch") return `${partOf(change)} from “${prompt.slice(0, 12).trim()}${prompt.length > 12 ? "…" : ""}”`;
  return `${action === "mean" ? "mean of" : "without"} ${partOf(change)}`;
}

/** All changes in words, such as "without L1H3, L2 MLP". @type {(changes: Intervention[]) => string} */
export function describeChanges(changes) {
  const off = changes.filter(isOff);
  const names = off.map(partOf);
  const parts = names.length > 4 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
  const verb = off.some(({ action }) => action === "mean") ? "mean of" : "without";
  return [...(off.length ? [`${verb} ${parts}`] : []), ...changes.filter((change) => !isOff(change)).map(nameOfChange)].join(", ");
}

/** A change as a code: h0.2z is head 2 of layer 0 set to zero. @type {(change: Intervention) => string} */
export function encodeChange({ component, layer, head, action = "zero", factor = 1, vector, prompt = "", source_position = -1, position = -1 }) {
  const how = {
    zero: "z", mean: "n", scale: `x${factor}`, add: `v${factor}~${vector}`, patch: `p${source_position}~${position}~${prompt}`,
  }[action];
  return `${LETTERS[component]}${layer}${head === undefined ? "" : `.${head}`}${how}`;
}

/** The reverse of encodeChange; null if it is none. @type {(code: string) => Intervention | null} */
export function decodeChange(code) {
  const found = CODE.exec(code);
  if (!found) return null;
  const [, letter, layer, head, , mean, scale, factor, vector, source, position, prompt] = found;
  const component = /** @type {Intervention["component"]} */ (Object.keys(LETTERS).find((name) => LETTERS[/** @type {keyof typeof LETTERS} */ (name)] === letter));
  /** @type {Intervention} */
  const change = { component, layer: Number(layer), ...(head === undefined ? {} : { head: Number(head) }) };
  if (mean) return { ...change, action: "mean" };
  if (scale !== undefined) return { ...change, action: "scale", factor: Number(scale) };
  if (vector !== undefined) return { ...change, action: "add", vector, factor: Number(factor) };
  if (prompt !== undefined) return { ...change, action: "patch", prompt, source_position: Number(source), position: Number(position) };
  return change;
}

/** Whether two lists have the same changes in the same order. @type {(one: Intervention[], other: Intervention[]) => boolean} */
export const equalChanges = (one, other) => one.length === other.length && one.every((change, i) => encodeChange(change) === encodeChange(other[i]));
