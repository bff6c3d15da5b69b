// @ts-check
// Helpers for making elements and for showing numbers and tokens as text.

/**
 * The tag of "tag.class".
 * @template {string} S
 * @typedef {S extends `${infer Tag}.${string}` ? Tag : S} TagOf
 */

/**
 * @template {string} S
 * @typedef {TagOf<S> extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[TagOf<S>] : HTMLElement} ElementOf
 */

/** @typedef {Node | string | number} Child */
/** @typedef {Record<string, any>} Properties element properties, attributes such as aria-*, listeners as on* */

/**
 * The one element that matches; the page always has it.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} selector
 * @param {ParentNode} root
 */
export function find(selector, root = document) {
  const element = root.querySelector(selector);
  if (!element) throw new Error(`The page has no ${selector}.`);
  return /** @type {T} */ (element);
}

/**
 * An element: make("p.class", {properties}, ...children). The properties may be left out.
 * @template {string} S
 * @param {S} tag
 * @param {...(Child | Properties)} content
 * @returns {ElementOf<S>}
 */
export function make(tag, ...content) {
  const [name, className] = tag.split(".");
  const element = /** @type {any} */ (document.createElement(name));
  const properties = content[0]?.constructor === Object ? /** @type {Properties} */ (content.shift()) : {};
  if (className) element.className = className;
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...content);
  return element;
}

/**
 * An SVG element.
 * @template {keyof SVGElementTagNameMap} S
 * @param {S} name
 * @param {Record<string, string | number>} attributes
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[S]}
 */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children.map((child) => (typeof child === "number" ? String(child) : child)));
  return element;
}

/**
 * A button.
 * @param {string} label
 * @param {() => void} onclick
 * @param {Properties} properties
 */
export const button = (label, onclick, properties = {}) => make("button", { type: "button", onclick, ...properties }, label);

/**
 * A token with its white space made visible.
 * @param {string} token
 */
export function visible(token) {
  if (token === "") return "…"; // part of a character
  if (/^<\|.*\|>$/.test(token)) return "∎"; // the end of the text
  return token.replaceAll("\ufffd", "…").replaceAll("\n", "↵").replaceAll(" ", "␣").replaceAll("\t", "⇥");
}

/** @type {Record<string, string>} */
const NAMES = {
  "\n": "line break", " ": "space", "\t": "tab", ",": "comma", ".": "full stop", "'": "apostrophe", ":": "colon", ";": "semicolon",
  "!": "exclamation mark", "?": "question mark", "-": "hyphen", "": "part of a character", "<|endoftext|>": "end of text",
};

/**
 * A token in words, for screen readers.
 * @param {string} token
 */
export const spoken = (token) => NAMES[token] ?? token;

/**
 * A probability with no-break spaces.
 * @param {number} probability
 */
export function percent(probability) {
  if (probability >= 0.9995) return "100\u00a0%";
  if (probability >= 0.0995) return `${Math.round(probability * 100)}\u00a0%`;
  if (probability >= 0.001) return `${(probability * 100).toFixed(1)}\u00a0%`;
  return "<\u00a00.1\u00a0%";
}

/**
 * The character of a text that starts at an offset: one code point; empty at the end.
 * @param {string} text
 * @param {number} offset
 */
export function characterFrom(text, offset) {
  const code = text.codePointAt(offset);
  return code === undefined ? "" : String.fromCodePoint(code);
}

/**
 * The end of a text, at most `length` UTF-16 code units; no character is cut.
 * @param {string} text
 * @param {number} length
 */
export const endOf = (text, length) => text.slice(-length).replace(/^[\udc00-\udfff]/, "");

/** @param {number} number */
export const formatCount = (number) => Math.round(number).toLocaleString("en");

/**
 * Announce a change to screen readers.
 * @param {string} text
 */
export function announce(text) {
  find("#status").textContent = text;
}

/**
 * Copy to the clipboard, also on pages without https.
 * @param {string} text
 */
export async function copyToClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, className: "visually-hidden" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/**
 * A text that depends on whether the visitor has a pointer that hovers, or a touch screen.
 * @param {string} hovering
 * @param {string} touching
 */
export const byPointer = (hovering, touching) => [make("span.hover-only", hovering), make("span.touch-only", touching)];
