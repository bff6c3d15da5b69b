// The text, set as a page of a play. It grows token by token: a speech is a <p>, a line of it a <span class="line">, and
// in a line stand runs of characters that are equally surprising. A run is a text node or a <span class="s1".."s5">:
// one element for each character would be several times as many. Which character the pointer is at, the browser knows.

import { make } from "./dom.js";

const LEVELS = [0.5, 0.25, 0.1, 0.033, 0.01].map((probability) => -Math.log(probability)); // in nats
const LONGEST_SPEECH = 40; // lines; the browser lays out and paints one <p> at a time

/** 0 (half or likelier) to 5 (rarer than 1 in 100). */
export const level = (nats) => LEVELS.filter((bound) => nats > bound).length;

/** What a line is, by how it looks: the name of who speaks, a direction, a heading, or verse. */
function kind(line, first) {
  if (first && /^[A-Z][A-Za-z',. -]{0,40}:$/.test(line)) return "line speaker";
  if (first && /^[A-Z]{2}[A-Z',. -]*$/.test(line)) return "line speaker"; // the colon will come
  if (/^[[(].*[\])]$/.test(line) || (first && /^(Enter|Exit|Exeunt|Re-enter)\b/.test(line))) return "line direction";
  return "line";
}

export class Play {
  constructor(root) {
    this.root = root;
    this.text = "";
    this.starts = []; // where each token of the model begins in the text
    this.tokens = [];
    this.lines = []; // {element, start, text}
    this.lineOf = new Map(); // element to index
    this.startSpeech();
  }

  /** The prompt, which the model did not write. */
  give(text) {
    this.pieces(text, "given");
  }

  append(tokens) {
    for (const token of tokens) {
      this.starts.push(this.text.length);
      this.tokens.push(token);
      const surprise = level(-token.logprob);
      this.pieces(token.text, surprise ? `s${surprise}` : "");
    }
  }

  pieces(text, style) {
    text.split("\n").forEach((piece, i) => {
      if (i) this.breakLine(style);
      if (piece) this.run(piece, style);
    });
  }

  run(text, style) {
    const line = this.line.element;
    const last = line.lastChild;
    if (last && (last.className ?? "") === style) (last.firstChild ?? last).appendData(text);
    else line.append(style ? make("span", { className: style }, text) : text);
    this.text += text;
    this.line.text += text;
    const now = kind(this.line.text, this.firstLine);
    if (line.className !== now) line.className = now;
  }

  breakLine(style) {
    if (style && style !== "given") this.line.element.append(make("i", { className: `end ${style}` }));
    this.text += "\n";
    const empty = this.line.text === "";
    if (empty) this.line.element.className = "line empty";
    if (empty || this.speech.childElementCount >= LONGEST_SPEECH) this.startSpeech(empty);
    else this.startLine(false);
  }

  startSpeech(first = true) {
    this.speech = make("p");
    this.root.append(this.speech);
    this.startLine(first);
  }

  startLine(first) {
    this.firstLine = first;
    this.line = { element: make("span.line"), start: this.text.length, text: "" };
    this.lineOf.set(this.line.element, this.lines.length);
    this.lines.push(this.line);
    this.speech.append(this.line.element);
  }

  /** Which token a character of the text belongs to; -1 for the prompt. */
  tokenAt(offset) {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Where a token ends. */
  endOf(token) {
    return this.starts[token] + this.tokens[token].text.length;
  }

  lineAt(offset) {
    let low = 0;
    let high = this.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lines[middle].start <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** The character of the text under a point of the window, the line break beyond a line's end; -1 for none. */
  characterAt(x, y) {
    const element = document.elementFromPoint(x, y)?.closest(".line");
    const line = this.lineOf.get(element);
    if (line === undefined) return -1;
    const { start } = this.lines[line];
    const end = line + 1 < this.lines.length ? this.lines[line + 1].start : this.text.length;
    const place = caret(x, y);
    if (!place || !element.contains(place.node)) return -1;
    const offset = start + before(element, place.node) + place.offset;
    for (const one of [offset, offset - 1]) {
      const box = one >= start && one < end && this.box(one);
      if (box && x >= box.left - 1 && x <= box.right + 1) return one;
    }
    return this.text[end - 1] === "\n" && x > (this.box(end - 1)?.left ?? Infinity) ? end - 1 : -1;
  }

  /** Where a character is in the window; a line break is as wide as a space. */
  box(offset) {
    const { element, start } = this.lines[this.lineAt(offset)];
    const range = document.createRange();
    if (this.text[offset] === "\n") {
      range.selectNodeContents(element);
      const boxes = range.getClientRects();
      const last = boxes[boxes.length - 1] ?? element.getBoundingClientRect();
      return new DOMRect(boxes.length ? last.right : last.left, last.top, 8, last.height || 16);
    }
    let rest = offset - start;
    const walk = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      if (rest < walk.currentNode.length) {
        range.setStart(walk.currentNode, rest);
        range.setEnd(walk.currentNode, rest + 1);
        return range.getBoundingClientRect();
      }
      rest -= walk.currentNode.length;
    }
    return null;
  }
}

/** The place between two characters that is nearest to a point. */
function caret(x, y) {
  if (document.caretPositionFromPoint) {
    const place = document.caretPositionFromPoint(x, y);
    return place && { node: place.offsetNode, offset: place.offset };
  }
  const range = document.caretRangeFromPoint(x, y);
  return range && { node: range.startContainer, offset: range.startOffset };
}

/** How many characters of a line stand before a node. */
function before(line, node) {
  const range = document.createRange();
  range.setStart(line, 0);
  range.setEnd(node, 0);
  return range.toString().length;
}
