// @ts-check
// The tour: how a GPT works, one idea at a time, with the numbers of the page's model.

/** @import { Client, ModelInfo } from "../api/client.js" */
/** @import { TourText } from "./context.js" */

import { button, make } from "../views/dom.js";
import { Context } from "./context.js";
import { rich } from "./figures.js";
import { LINKS } from "./links.js";
import { modelMap } from "./model_map.js";
import { STEPS } from "./steps.js";

const EXAMPLE = { max_tokens: 200, max_words: 30, temperature: 0.5, seed: 0 };
const MIN_LENGTH = 24; // of a visitor's text; a shorter one shows too little

/** The index of the step that a fragment names; -1 if the fragment is not the tour's. @type {(hash: string) => number} */
export const stepOf = (hash) => {
  const found = /^#tour(?:\/(\d+))?$/.exec(hash);
  return found ? Math.min(STEPS.length, Math.max(1, Number(found[1] ?? 1))) - 1 : -1;
};

export class Tour {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.index = 0;
    /** @type {Context | undefined} */
    this.context = undefined;
    this.key = "";
    /** @type {Map<string, TourText>} by model */
    this.examples = new Map();
    this.source = make("p.source");
    this.map = make("div");
    const wide = matchMedia("(min-width: 46rem)"); // as in tour.css: then there is room beside the text
    const where = make("details.map", { open: wide.matches }, make("summary", "Where this is in the model"), this.map);
    wide.addEventListener("change", () => { where.open = wide.matches; });
    this.body = make("div.step", make("p.small", "Loading …"));
    this.links = STEPS.map(({ title }, i) => make("a", { href: `#tour/${i + 1}`, title, "aria-label": `Step ${i + 1}: ${title}` }, i + 1));
    this.progress = make("p.small");
    this.actions = make("p.actions");
    this.style = make("link", { rel: "stylesheet", href: new URL("tour.css", import.meta.url).href });
    this.styled = new Promise((resolve) => { this.style.onload = this.style.onerror = resolve; });
    document.head.append(this.style);
    root.replaceChildren(
      make("header", make("h2", "How a GPT works"), this.source),
      make("nav", { "aria-label": "Steps" }, make("ol.steps", ...this.links.map((link) => make("li", link)))),
      make("div.tour-grid", where, make("div", this.body, this.actions)));
  }

  /**
   * Show a step, with the visitor's text or with an example that begins with the prompt.
   * @param {Client} client
   * @param {TourText & { prompt: string }} source
   * @param {number} index
   */
  async open(client, source, index) {
    const moved = this.context !== undefined && index !== this.index;
    this.index = index;
    this.showPlace();
    const own = source.text.length >= MIN_LENGTH;
    /** @type {TourText} */
    const text = own ? source : await this.example(client, source);
    const key = JSON.stringify([text.model.id, text.text, text.isWhole]);
    if (key !== this.key || !this.context) {
      this.context = await new Context(client, text).prepare();
      this.key = key;
      this.source.replaceChildren(own ? "All numbers are live. They come from your text: " : "All numbers are live. They come from a text that the model has just written: ",
        make("q", `${this.context.text.slice(0, 60).replace(/\s*\n\s*/g, " / ")}…`));
    }
    await this.styled;
    await this.show(moved);
  }

  /**
   * A text that the model writes, the same each time.
   * @param {Client} client
   * @param {{ model: ModelInfo, prompt: string }} source
   */
  async example(client, { model, prompt }) {
    const known = this.examples.get(model.id);
    if (known) return known;
    let text = prompt;
    await client.complete({ model: model.id, prompt: text, ...EXAMPLE }, {
      onPrompt: (change) => { text = change.text; },
      onChunk: (chunk) => { text += chunk.text; },
    });
    const example = { model, text };
    this.examples.set(model.id, example);
    return example;
  }

  /** Show which step it is, before its numbers arrive. */
  showPlace() {
    const { index } = this;
    this.links.forEach((link, i) => { i === index ? link.setAttribute("aria-current", "step") : link.removeAttribute("aria-current"); });
    const link = (/** @type {number} */ to, /** @type {string} */ label, main = false) => make("a", { href: to < STEPS.length ? `#tour/${to + 1}` : "#playground", className: main ? "button main" : "button" }, label);
    this.actions.replaceChildren(
      ...(index > 0 ? [link(index - 1, "‹ Previous")] : []),
      link(index + 1, index + 1 < STEPS.length ? `Next: ${STEPS[index + 1].title} ›` : "To the playground ›", true));
  }

  /** @param {boolean} moved whether the visitor went to another step, whose heading then gets the focus */
  async show(moved = false) {
    const { context, index } = this;
    const step = STEPS[index];
    if (!context) return;
    this.map.replaceChildren(modelMap(context, step.parts, step.title));
    const heading = make("h3", { tabIndex: -1 }, `${step.title} `, make("small", `Step ${index + 1} of ${STEPS.length}`));
    const figure = make("div.figure", { role: "group", "aria-label": "Figure", "aria-busy": "true" }, make("p.small", "Computing …"));
    const code = typeof step.code === "function" ? step.code(context) : step.code;
    this.body.replaceChildren(make("section.panel", heading,
      ...step.text(context).map((paragraph) => make("p", ...rich(paragraph))),
      figure,
      make("details.question", make("summary", make("b", "Question: "), step.question), make("p", step.answer(context))),
      make("figure.quote", make("figcaption", "In model.py"), ...code.map((line) => make("code", line))),
      make("p.more", "More: ", ...step.links.flatMap((key, i) => [i ? " · " : "", make("a", { href: LINKS[key][1], rel: "noopener noreferrer", target: "_blank" }, LINKS[key][0])]))));
    if (moved) {
      heading.focus({ preventScroll: true });
      if (this.body.getBoundingClientRect().top < 0) this.body.scrollIntoView();
    }
    try {
      const children = await step.figure(context);
      figure.replaceChildren(...children.map((child) => (typeof child === "number" ? String(child) : child)));
    } catch (error) {
      figure.replaceChildren(make("p.error", { role: "alert" }, `${error.message} `, button("Try again", () => this.show())));
    }
    figure.removeAttribute("aria-busy");
    context.heads().catch(() => {}); // the next steps need them; a failure is shown there
  }

  /**
   * Show an error, and a button to try again.
   * @param {Error} error
   * @param {() => void} retry
   */
  fail(error, retry) {
    this.body.replaceChildren(make("p.error", { role: "alert" }, `${error.message} `, button("Try again", retry)));
  }
}
