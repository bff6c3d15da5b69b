// @ts-check
// The text, typeset as a play or plainly. It grows token by token: a speech or a paragraph is a <p>, a line of it a <span class="line">, and in a
// line there are runs of characters of the same surprisal. A run is a text node or a <span class="s1".."s5">; one element
// for each character would be several times as many. The browser finds the character under the pointer.

/** @import { Token } from "../api/client.js" */

import { characterFrom, make } from "./dom.js";

const LEVELS = [0.5, 0.25, 0.1, 0.03, 0.01]; // probabilities
const MAX_LINES = 40; // in a <p>, which the browser lays out and paints as one

/** @typedef {{ element: HTMLElement, start: number, text: string }} Line */

/**
 * Surprisal level: 0 (probability of at least 50 %) to 5 (below 1 %).
 * @param {number} logprob
 */
export const surprisalLevel = (logprob) => LEVELS.filter((probability) => logprob < Math.log(probability)).length;

/**
 * The classes of a line: a speaker's name, a stage direction, or verse.
 * @param {string} line
 * @param {boolean} first whether it is the first of a speech
 */
function lineClass(line, first) {
  if (first && /^[A-Z][A-Za-z',. -]{0,40}:$/.test(line)) return "line speaker";
  if (first && /^[A-Z]{2}[A-Z',. -]*$/.test(line)) return "line speaker"; // before the colon is there
  if (/^[[(].*[\])]$/.test(line) || (first && /^(Enter|Exit|Exeunt|Re-enter)\b/.test(line))) return "line direction";
  return "line";
}

/**
 * The last of some sorted numbers that is not above a value, by its index; -1 if there is none.
 * @template T
 * @param {T[]} items
 * @param {(item: T) => number} key
 * @param {number} value
 */
function lastIndexUpTo(items, key, value) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(items[middle]) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export class TextView {
  /**
   * @param {HTMLElement} root
   * @param {"play" | "plain"} layout
   */
  constructor(root, layout) {
    this.root = root;
    this.layout = layout;
    this.prompt = "";
    root.classList.toggle("plain", layout === "plain");
    this.text = "";
    /** @type {number[]} */
    this.starts = []; // offset of each generated token in the text
    /** @type {Token[]} */
    this.tokens = [];
    /** @type {Line[]} */
    this.lines = [];
    /** @type {Map<Element, number>} */
    this.lineOf = new Map();
    this.startsSpeech = true;
    this.speech = this.startSpeech(true);
  }

  /**
   * Show a prompt and nothing else.
   * @param {string} text
   */
  setPrompt(text) {
    this.prompt = text;
    this.root.replaceChildren();
    this.text = "";
    this.starts = [];
    this.tokens = [];
    this.lines = [];
    this.lineOf = new Map();
    this.speech = this.startSpeech(true);
    this.appendText(text, "prompt");
  }

  /** @param {Token[]} tokens */
  append(tokens) {
    for (const token of tokens) {
      this.starts.push(this.text.length);
      this.tokens.push(token);
      const level = surprisalLevel(token.logprob);
      this.appendText(token.text, level ? `s${level}` : "");
    }
  }

  /**
   * @param {string} text
   * @param {string} style
   */
  appendText(text, style) {
    text.split("\n").forEach((piece, i) => {
      if (i) this.breakLine(style);
      if (piece) this.appendRun(piece, style);
    });
  }

  get line() {
    return this.lines[this.lines.length - 1];
  }

  /**
   * @param {string} text
   * @param {string} style
   */
  appendRun(text, style) {
    const line = this.line.element;
    const last = line.lastChild;
    if (last && (last instanceof Element ? last.className : "") === style) /** @type {Text} */ (last.firstChild ?? last).appendData(text);
    else line.append(style ? make("span", { className: style }, text) : text);
    this.text += text;
    this.line.text += text;
    const className = this.layout === "plain" ? "line" : lineClass(this.line.text, line === this.speech.firstChild && this.startsSpeech);
    if (line.className !== className) line.className = className;
  }

  /** @param {string} style */
  breakLine(style) {
    if (style && style !== "prompt") this.line.element.append(make("i", { className: `end ${style}` }));
    this.text += "\n";
    const empty = this.line.text === "";
    if (empty) this.line.element.className = "line empty";
    if (empty || this.speech.childElementCount >= MAX_LINES) this.startSpeech(empty);
    else this.startLine();
  }

  /**
   * @param {boolean} startsSpeech false for a <p> that only continues a long speech
   * @returns {HTMLElement}
   */
  startSpeech(startsSpeech) {
    this.startsSpeech = startsSpeech;
    this.speech = make("p");
    this.root.append(this.speech);
    this.startLine();
    return this.speech;
  }

  startLine() {
    const line = { element: make("span.line"), start: this.text.length, text: "" };
    this.lineOf.set(line.element, this.lines.length);
    this.lines.push(line);
    this.speech.append(line.element);
  }

  /**
   * The token at an offset of the text; -1 for the prompt.
   * @param {number} offset
   */
  tokenAt(offset) {
    return lastIndexUpTo(this.starts, (start) => start, offset);
  }

  /**
   * The offset after a token.
   * @param {number} token
   */
  tokenEnd(token) {
    return this.starts[token] + this.tokens[token].text.length;
  }

  /** @param {number} offset */
  lineAt(offset) {
    return lastIndexUpTo(this.lines, (line) => line.start, offset);
  }

  /**
   * The offset of the character at a point of the window; right of a line, of its line break; -1 for none.
   * @param {number} x
   * @param {number} y
   */
  characterAt(x, y) {
    const element = document.elementFromPoint(x, y)?.closest(".line");
    const line = element ? this.lineOf.get(element) : undefined;
    if (!element || line === undefined) return -1;
    const { start } = this.lines[line];
    const end = line + 1 < this.lines.length ? this.lines[line + 1].start : this.text.length;
    const caret = caretAt(x, y);
    if (!caret || !element.contains(caret.node)) return -1;
    const offset = start + lengthBefore(element, caret.node) + caret.offset;
    for (const one of [offset, this.characterStart(offset - 1)]) {
      const box = one >= start && one < end ? this.characterRect(one) : null;
      if (box && x >= box.left - 1 && x <= box.right + 1) return one;
    }
    return this.text[end - 1] === "\n" && x > (this.characterRect(end - 1)?.left ?? Infinity) ? end - 1 : -1;
  }

  /**
   * The offset of the character that contains an offset: one less in the middle of a surrogate pair.
   * @param {number} offset
   */
  characterStart(offset) {
    return offset > 0 && characterFrom(this.text, offset - 1).length === 2 ? offset - 1 : offset;
  }

  /**
   * The rectangle of the character that starts at an offset, in the window; a line break is as wide as a space.
   * @param {number} offset
   */
  characterRect(offset) {
    const { element, start } = this.lines[this.lineAt(offset)];
    const range = document.createRange();
    if (this.text[offset] === "\n") {
      range.selectNodeContents(element);
      const boxes = range.getClientRects();
      const last = boxes[boxes.length - 1] ?? element.getBoundingClientRect();
      return new DOMRect(boxes.length ? last.right : last.left, last.top, 8, last.height || 16);
    }
    let rest = offset - start;
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = /** @type {Text} */ (walker.currentNode);
      if (rest < node.length) {
        range.setStart(node, rest);
        range.setEnd(node, Math.min(node.length, rest + (characterFrom(this.text, offset).length || 1)));
        return range.getBoundingClientRect();
      }
      rest -= node.length;
    }
    return null;
  }
}

/**
 * The caret position nearest to a point.
 * @param {number} x
 * @param {number} y
 */
function caretAt(x, y) {
  if (document.caretPositionFromPoint) {
    const position = document.caretPositionFromPoint(x, y);
    return position && { node: position.offsetNode, offset: position.offset };
  }
  const range = document.caretRangeFromPoint(x, y);
  return range && { node: range.startContainer, offset: range.startOffset };
}

/**
 * The number of characters of a line before a node.
 * @param {Node} line
 * @param {Node} node
 */
function lengthBefore(line, node) {
  const range = document.createRange();
  range.setStart(line, 0);
  range.setEnd(node, 0);
  return range.toString().length;
}
