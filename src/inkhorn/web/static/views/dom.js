// Small helpers for making elements and for saying numbers and characters in words.

export const find = (selector, root = document) => root.querySelector(selector);

/** An element: make("p.class", {properties, aria-*, on*}, ...children); the properties may be left out. */
export function make(kind, ...children) {
  const [name, className] = kind.split(".");
  const element = document.createElement(name);
  const properties = children[0]?.constructor === Object ? children.shift() : {};
  if (className) element.className = className;
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** An SVG element. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A token as it can be seen: white space has signs of its own. */
export function visible(token) {
  if (token === "") return "…"; // part of a character
  if (/^<\|.*\|>$/.test(token)) return "∎"; // the end of the text
  return token.replaceAll("\n", "↵").replaceAll(" ", "␣").replaceAll("\t", "⇥");
}

const NAMES = { "\n": "line break", " ": "space", "\t": "tab", ",": "comma", ".": "full stop", "'": "apostrophe",
  "": "part of a character", ":": "colon", ";": "semicolon", "!": "exclamation mark", "?": "question mark", "-": "hyphen", "<|endoftext|>": "end of the text" };

/** A token as it can be read aloud. */
export const spoken = (token) => NAMES[token] ?? token;

export function percent(probability) {
  if (probability >= 0.9995) return "100 %";
  if (probability >= 0.0995) return `${Math.round(probability * 100)} %`;
  if (probability >= 0.001) return `${(probability * 100).toFixed(1)} %`;
  return "< 0.1 %";
}

export const count = (number) => Math.round(number).toLocaleString("en");

/** Say something to those who cannot see the page change. */
export function say(text) {
  find("#status").textContent = text;
}

/** Copy to the clipboard, on pages without https too. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, class: "unseen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
