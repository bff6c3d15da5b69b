// The small card at a character: how likely it was, and what else might have stood there. The pointer moves it, and on a
// text that has the focus the arrow keys do.

import { make, percent, say, spoken, visible } from "./dom.js";
import { bars } from "./logit_lens.js";

const card = make("div.peek", { hidden: true, "aria-hidden": "true" });
const mark = make("div.mark", { hidden: true });
let keyed = 0;

/** Let a take be looked at. onOpen(end) is called with where the chosen token ends in the text. */
export function watch(play, onOpen) {
  const { root } = play;
  let token = -1;

  const show = (index, byKey = false) => {
    token = index;
    const box = index < 0 ? null : play.box(Math.min(play.starts[index], play.text.length - 1));
    if (!box) return hide();
    card.replaceChildren(...contents(play.tokens[index]));
    putMark(root, box);
    if (byKey) {
      keyed = performance.now();
      mark.scrollIntoView({ block: "nearest" });
    }
    putCard(mark.getBoundingClientRect());
  };

  root.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const character = play.characterAt(event.clientX, event.clientY);
    const index = character < 0 ? -1 : play.tokenAt(character);
    if (index !== token || card.hidden) show(index);
  });
  root.addEventListener("pointerleave", hide);
  root.addEventListener("blur", hide);
  root.addEventListener("click", (event) => {
    if (!getSelection().isCollapsed) return; // somebody is selecting text
    const character = play.characterAt(event.clientX, event.clientY);
    if (character < 0) return;
    const index = play.tokenAt(character);
    hide();
    onOpen(index < 0 ? character + 1 : play.endOf(index));
  });
  root.addEventListener("keydown", (event) => {
    if (play.tokens.length === 0) return;
    if (event.key === "Enter" && token >= 0) {
      hide();
      onOpen(play.endOf(token));
      return;
    }
    const next = step(play, token, event.key);
    if (next === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(next, true);
    const { text, logprob } = play.tokens[next];
    say(`${spoken(text)}, ${percent(Math.exp(logprob))}`);
  });
}

function step(play, token, key) {
  const last = play.tokens.length - 1;
  const within = (index) => Math.max(0, Math.min(last, index));
  if (key === "ArrowRight") return within(token + 1);
  if (key === "ArrowLeft") return within(token < 0 ? last : token - 1);
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const offset = play.starts[Math.max(0, token)];
  const line = play.lineAt(offset);
  const other = play.lines[line + (key === "ArrowUp" ? -1 : 1)];
  return other ? within(play.tokenAt(other.start + Math.min(offset - play.lines[line].start, other.text.length))) : within(token);
}

function contents({ text, logprob, top }) {
  const rows = top.slice(0, 5);
  if (!rows.some(([one]) => one === text)) rows.push([text, logprob]);
  const odds = rows.map(([one, value]) => [one, Math.exp(value)]);
  return [make("p", make("b", visible(text)), ` had ${percent(Math.exp(logprob))}`), bars(odds, text, 1)];
}

function putMark(root, box) {
  const origin = root.getBoundingClientRect();
  if (mark.parentNode !== root) root.append(mark);
  mark.hidden = false;
  Object.assign(mark.style, {
    left: `${box.left - origin.left}px`,
    top: `${box.top - origin.top}px`,
    width: `${box.width}px`,
    height: `${box.height}px`,
  });
}

/** Under the character, or over it where there is no room below. */
function putCard(box) {
  if (!card.isConnected) document.body.append(card);
  card.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = card;
  const left = Math.max(8, Math.min(box.left - 20, document.documentElement.clientWidth - width - 8));
  const below = box.bottom + 8;
  card.style.left = `${left}px`;
  card.style.top = `${below + height < innerHeight ? below : Math.max(8, box.top - height - 8)}px`;
}

export function hide() {
  card.hidden = mark.hidden = true;
}

// The pointer has another character under it now; a scroll that a key has caused keeps the card.
addEventListener("scroll", () => performance.now() - keyed > 300 && hide(), { passive: true });
addEventListener("keydown", ({ key }) => key === "Escape" && hide());
