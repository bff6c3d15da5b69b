// @ts-check
// The tooltip of a token: its probability and the alternatives. The pointer opens it, a tap, or the arrow keys when the
// text has the focus. A click inspects the token; on a touch screen, which has no hovering, a second tap.

/** @import { Token } from "../api/client.js" */
/** @import { TextView } from "./text_view.js" */

import { announce, characterFrom, make, percent, spoken, visible } from "./dom.js";
import { probabilityBars } from "./logit_lens.js";

const tooltip = make("div.tooltip", { hidden: true, "aria-hidden": "true" });
const marker = make("div.marker", { hidden: true });
let lastKey = 0;

/**
 * Show tooltips on a text.
 * @param {TextView} view
 * @param {(end: number) => void} onInspect called with the offset after the token that is to be inspected
 */
export function attachTooltip(view, onInspect) {
  const { root } = view;
  let token = -1;

  const show = (/** @type {number} */ index, byKey = false) => {
    token = index;
    const box = index < 0 ? null : view.characterRect(Math.min(view.starts[index], view.text.length - 1));
    if (!box) return hideTooltip();
    tooltip.replaceChildren(...contents(view.tokens[index]));
    placeMarker(root, box);
    if (byKey) {
      lastKey = performance.now();
      marker.scrollIntoView({ block: "nearest" });
    }
    placeTooltip(marker.getBoundingClientRect());
  };

  root.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const character = view.characterAt(event.clientX, event.clientY);
    const index = character < 0 ? -1 : view.tokenAt(character);
    if (index !== token || tooltip.hidden) show(index);
  });
  root.addEventListener("pointerleave", ({ pointerType }) => pointerType === "touch" || hideTooltip()); // a finger leaves after each tap
  root.addEventListener("blur", hideTooltip);
  root.addEventListener("click", (event) => {
    if (!getSelection()?.isCollapsed) return; // the user is selecting text
    const character = view.characterAt(event.clientX, event.clientY);
    if (character < 0) return;
    const index = view.tokenAt(character);
    const isShown = index === token && marker.parentNode === root && !tooltip.hidden;
    if (/** @type {PointerEvent} */ (event).pointerType === "touch" && index >= 0 && !isShown) return show(index);
    hideTooltip();
    onInspect(index < 0 ? character + characterFrom(view.text, character).length : view.tokenEnd(index));
  });
  root.addEventListener("keydown", (event) => {
    if (view.tokens.length === 0) return;
    if (event.key === "Enter" && token >= 0) {
      hideTooltip();
      onInspect(view.tokenEnd(token));
      return;
    }
    const next = tokenAfterKey(view, token, event.key);
    if (next === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(next, true);
    const { text, logprob } = view.tokens[next];
    announce(`${spoken(text)}, ${percent(Math.exp(logprob))}`);
  });
}

/**
 * The token that a key moves to; null for another key.
 * @param {TextView} view
 * @param {number} token
 * @param {string} key
 */
function tokenAfterKey(view, token, key) {
  const last = view.tokens.length - 1;
  const clamp = (/** @type {number} */ index) => Math.max(0, Math.min(last, index));
  if (key === "ArrowRight") return clamp(token + 1);
  if (key === "ArrowLeft") return clamp(token < 0 ? last : token - 1);
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const offset = view.starts[Math.max(0, token)];
  const line = view.lineAt(offset);
  const other = view.lines[line + (key === "ArrowUp" ? -1 : 1)];
  return other ? clamp(view.tokenAt(other.start + Math.min(offset - view.lines[line].start, other.text.length))) : clamp(token);
}

/** @param {Token} token */
function contents({ text, logprob, top }) {
  const rows = top.slice(0, 5);
  if (!rows.some(([one, value]) => one === text || value === logprob)) rows.push([text, logprob]);
  /** @type {[string, number][]} */
  const probabilities = rows.map(([one, value]) => [one, Math.exp(value)]);
  return [make("p", make("b", visible(text)), ` probability ${percent(Math.exp(logprob))}`), probabilityBars(probabilities, text, 1),
    make("p.touch-only", "Tap again to inspect.")];
}

/**
 * @param {HTMLElement} root
 * @param {DOMRect} box
 */
function placeMarker(root, box) {
  const origin = root.getBoundingClientRect();
  if (marker.parentNode !== root) root.append(marker);
  marker.hidden = false;
  Object.assign(marker.style, {
    left: `${box.left - origin.left}px`,
    top: `${box.top - origin.top}px`,
    width: `${box.width}px`,
    height: `${box.height}px`,
  });
}

/**
 * Below the token, or above it where there is no room below.
 * @param {DOMRect} box
 */
function placeTooltip(box) {
  if (!tooltip.isConnected) document.body.append(tooltip);
  tooltip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tooltip;
  const left = Math.max(8, Math.min(box.left - 20, document.documentElement.clientWidth - width - 8));
  const below = box.bottom + 8;
  tooltip.style.left = `${left}px`;
  tooltip.style.top = `${below + height < innerHeight ? below : Math.max(8, box.top - height - 8)}px`;
}

export function hideTooltip() {
  tooltip.hidden = true;
  marker.hidden = true;
}

// After a scroll another token is under the pointer; the tooltip remains if an arrow key caused the scroll.
addEventListener("scroll", () => performance.now() - lastKey > 300 && hideTooltip(), { passive: true });
addEventListener("keydown", ({ key }) => key === "Escape" && hideTooltip());
