// @ts-check
// A sample: a text that is being generated or is finished, and its buttons.

/** @import { Chunk, Client, CompletionRequest, FinishReason, Intervention, ModelInfo, PromptChange } from "../api/client.js" */
/** @import { SavedText } from "./saved_texts.js" */
/** @import { Values } from "./settings.js" */
/** @import { Segment, SharedText } from "./share_link.js" */

import { autoscroll } from "./autoscroll.js";
import { describeChanges, equalChanges } from "./change_codes.js";
import { announce, button, copyToClipboard, endOf, formatCount, make } from "./dom.js";
import { randomSeed } from "./settings.js";
import { isPrefix, toFragment } from "./share_link.js";
import { TextView } from "./text_view.js";
import { attachTooltip, hideTooltip } from "./token_tooltip.js";

const CHARACTERS_PER_TOKEN = 8; // of the text sent with Continue, per token of the context; the model sees no more

/**
 * @typedef {object} Callbacks
 * @property {() => Values} settings
 * @property {(id: string) => ModelInfo} model
 * @property {(id: string) => "play" | "plain"} layout of a model's texts
 * @property {(sample: SamplePanel, end: number) => void} onInspect
 * @property {() => void} onChange called when generation starts or ends
 * @property {(change: PromptChange) => void} onPrompt called if the model cannot read the prompt as it is
 * @property {(error: Error & { needsKey?: boolean }) => void} onError
 */

export class SamplePanel {
  /**
   * @param {number} number
   * @param {Client} client
   * @param {Callbacks} callbacks
   */
  constructor(number, client, callbacks) {
    this.number = number;
    this.client = client;
    this.callbacks = callbacks;
    /** @type {AbortController | null} */
    this.running = null;
    /** @type {Segment[]} */
    this.planned = [];
    /** @type {Segment[]} */
    this.segments = []; // that were generated
    /** @type {{ segment: Segment, start: number } | null} */
    this.active = null; // the segment that is being generated, and the number of tokens before it
    this.prompt = "";
    this.modelId = "";
    /** @type {Intervention[]} */
    this.interventions = [];
    this.fingerprint = "";
    this.details = make("span.details");
    this.error = make("p.error", { role: "alert", hidden: true });
    const tool = (/** @type {string} */ label, /** @type {() => void} */ act, /** @type {string} */ title) =>
      button(label, () => this.running || act(), { title });
    this.tools = make("div.tools", { role: "group", "aria-label": `Sample ${number}` },
      tool("Continue", () => this.resume(), "Generate more text after this one"),
      tool("Regenerate", () => this.regenerate(), "Same prompt and settings, new seed"),
      tool("Copy", () => this.copyText(), "Copy the text"),
      tool("Save", () => this.download(), "Download the text as a file"),
      tool("Share", () => this.share(), "Copy a link that generates this text again"));
    this.heading = make("h2", `Sample ${number}`);
    this.body = make("div.sample-body");
    this.root = make("article.sample", { "aria-label": `Sample ${number}` },
      make("header", this.heading, this.details), this.body, this.error, this.tools);
    this.view = this.clear("", "");
  }

  /**
   * Show only a prompt.
   * @param {string} prompt
   * @param {string} model
   * @returns {TextView}
   */
  clear(prompt, model) {
    this.modelId = model;
    this.prompt = prompt;
    this.segments = [];
    this.fingerprint = "";
    const root = make("div.text-view", {
      tabIndex: 0,
      role: "group",
      "aria-label": `Text of sample ${this.number}. Arrow keys move between tokens and read their probabilities; Enter inspects a token.`,
    });
    hideTooltip();
    this.body.replaceChildren(root);
    this.view = new TextView(root, this.callbacks.layout(model));
    this.view.setPrompt(prompt);
    attachTooltip(this.view, (end) => this.callbacks.onInspect(this, end));
    return this.view;
  }

  /**
   * Generate a text from its prompt on.
   * @param {string} prompt
   * @param {string} model
   * @param {Segment[]} segments
   * @param {Intervention[]} interventions
   */
  async generate(prompt, model, segments, interventions = []) {
    this.stop();
    this.clear(prompt, model);
    this.change(interventions);
    this.planned = segments;
    for (const segment of segments) {
      if (!(await this.generateSegment(segment))) return;
    }
  }

  /**
   * Say what is changed in the model that writes this text.
   * @param {Intervention[]} interventions
   */
  change(interventions) {
    this.interventions = interventions;
    if (interventions.length) this.heading.replaceChildren("Changed: ", make("small", describeChanges(interventions)));
    else this.heading.replaceChildren(`Sample ${this.number}`);
  }

  regenerate() {
    const seed = randomSeed();
    this.generate(this.prompt, this.modelId, this.sharedSegments.map((segment, i) => ({ ...segment, seed: seed + i, tokens: null })), this.interventions);
  }

  /** Continue after the text, with the current settings. */
  resume() {
    const { words, temperature, top_k, top_p, min_p } = this.callbacks.settings();
    const seed = (this.segments[0]?.seed ?? randomSeed()) + this.segments.length;
    const segment = { words, temperature, top_k, top_p, min_p, seed, tokens: null };
    if (this.segments.length === 0) this.planned = [segment];
    return this.generateSegment(segment);
  }

  /**
   * The text with all that is needed to show it again and continue it.
   * @returns {SavedText}
   */
  save() {
    const { prompt, view, modelId: model, fingerprint, planned, active } = this;
    const partial = active && view.tokens.length > active.start ? [{ ...active.segment, tokens: view.tokens.length - active.start }] : [];
    const { interventions } = this;
    return { prompt, shownPrompt: view.prompt, model, fingerprint, segments: [...this.segments, ...partial], planned, tokens: view.tokens, interventions };
  }

  /** @param {SavedText} saved */
  restore({ prompt, shownPrompt, model, fingerprint, segments, planned, tokens, interventions = [] }) {
    this.clear(prompt, model);
    this.change(interventions);
    this.view.setPrompt(shownPrompt);
    this.view.append(tokens);
    this.fingerprint = fingerprint;
    this.segments = segments;
    this.planned = planned;
    this.showDetails(0, 0, 0);
  }

  /**
   * Whether the text of a link is here, perhaps continued, or being generated.
   * @param {SharedText} link
   */
  contains(link) {
    return equalChanges(this.interventions, link.interventions) && link.prompt === this.prompt && isPrefix(link.segments, [...this.segments, ...this.planned.slice(this.segments.length)]);
  }

  /** What a link to this text contains. */
  get sharedSegments() {
    return this.segments.length ? this.segments : this.planned.slice(0, 1);
  }

  /**
   * Generate one segment; true if it was not stopped.
   * @param {Segment} segment
   */
  async generateSegment(segment) {
    const controller = new AbortController();
    const { view } = this;
    const model = this.callbacks.model(this.modelId);
    const started = performance.now();
    const tokensBefore = view.tokens.length;
    /** @type {Chunk[]} */
    const chunks = [];
    let received = 0;
    let frame = 0;
    const show = () => {
      frame = 0;
      for (const { tokens } of chunks.splice(0)) view.append(tokens);
      autoscroll();
    };
    const onPrompt = (/** @type {PromptChange} */ change) => {
      if (this.running !== controller || view.tokens.length > 0) return;
      view.setPrompt(change.text);
      this.callbacks.onPrompt(change);
    };
    const onChunk = (/** @type {Chunk} */ chunk) => {
      if (this.running !== controller) return; // stopped: drop what was still on its way
      received += chunk.tokens.length;
      chunks.push(chunk);
      frame ||= requestAnimationFrame(show);
    };
    this.running = controller;
    this.active = { segment, start: tokensBefore };
    this.setBusy(true);
    let result;
    try {
      result = await this.client.complete(this.request(segment, model), { onChunk, onPrompt, signal: controller.signal });
      this.fingerprint = result.fingerprint || this.fingerprint || model.fingerprint;
    } catch (error) {
      if (this.view === view) this.showError(error, received === 0);
    }
    if (this.view !== view) return false; // replaced by another text in the meantime
    cancelAnimationFrame(frame);
    show();
    const complete = result !== undefined && result.finish_reason !== "abort";
    if (received) this.segments.push(complete ? segment : { ...segment, tokens: received });
    if (this.running === controller) this.running = this.active = null;
    this.setBusy(false);
    const characters = view.text.length - (view.starts[tokensBefore] ?? view.text.length);
    this.showDetails(characters, view.tokens.length - tokensBefore, performance.now() - started, result?.finish_reason);
    return complete;
  }

  /**
   * @param {Segment} segment
   * @param {ModelInfo} model
   * @returns {CompletionRequest}
   */
  request({ words, tokens, temperature, top_k, top_p, min_p, seed }, model) {
    const { text, tokens: generated } = this.view;
    const prompt = generated.length === 0 ? this.prompt : endOf(text, CHARACTERS_PER_TOKEN * model.block_size);
    const max_tokens = tokens ?? Infinity;
    const request = { model: model.id, prompt, max_tokens, max_words: words, temperature, top_k, top_p, min_p, seed, logprobs: 5 };
    return this.interventions.length ? { ...request, interventions: this.interventions } : request;
  }

  /**
   * Say what a text that has no token yet waits for.
   * @param {string} text
   */
  showWaiting(text) {
    if (this.running && this.view.tokens.length === 0) this.details.textContent = text;
  }

  stop() {
    this.running?.abort();
  }

  /** @param {boolean} busy */
  setBusy(busy) {
    if (busy) this.error.hidden = true;
    this.root.classList.toggle("running", busy);
    this.body.setAttribute("aria-busy", String(busy));
    for (const tool of this.tools.children) tool.setAttribute("aria-disabled", String(busy)); // `disabled` would lose the focus
    if (busy) this.details.textContent = "generating …";
    this.callbacks.onChange();
  }

  /**
   * @param {number} characters
   * @param {number} tokens as many as characters in a model of characters, whose rate is told once
   * @param {number} milliseconds
   * @param {FinishReason} [reason]
   */
  showDetails(characters, tokens, milliseconds, reason) {
    const rate = (/** @type {number} */ count, /** @type {string} */ unit) => ` · ${formatCount((count / milliseconds) * 1000)} ${unit}/s`;
    const inTokens = tokens === characters ? "" : rate(tokens, "tokens");
    const speed = characters > 20 && milliseconds > 0 ? `${rate(characters, "chars")}${inTokens}` : "";
    this.details.textContent = `seed ${this.sharedSegments[0]?.seed} · ${formatCount(this.view.text.length)} characters${speed}`;
    if (!reason) return;
    const outcome = { abort: "stopped", stop: "reached the end of the text", length: "finished" }[reason];
    announce(`Sample ${this.number} ${outcome}: ${formatCount(characters)} characters generated.`);
  }

  /**
   * @param {Error} error
   * @param {boolean} nothing whether no token was received
   */
  showError(error, nothing) {
    const restart = nothing && this.segments.length === 0;
    const retry = () => { restart ? this.generate(this.prompt, this.modelId, this.planned, this.interventions) : this.resume(); };
    this.error.replaceChildren(`${error.message} `, button(nothing ? "Try again" : "Continue", retry));
    this.error.hidden = false;
    this.callbacks.onError(error);
  }

  async copyText() {
    await copyToClipboard(this.view.text);
    this.confirm("Copied.");
  }

  download() {
    const url = URL.createObjectURL(new Blob([`${this.view.text}\n`], { type: "text/plain;charset=utf-8" }));
    const name = this.view.text.slice(0, 40).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
    make("a", { href: url, download: `${name || "inkhorn"}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async share() {
    const { prompt, modelId: model, fingerprint, sharedSegments: segments, interventions } = this;
    history.replaceState(null, "", toFragment({ prompt, model, fingerprint, segments, interventions }));
    await copyToClipboard(location.href);
    this.confirm("Link copied.");
  }

  /** @param {string} text */
  confirm(text) {
    const before = this.details.textContent;
    this.details.textContent = text;
    announce(text);
    setTimeout(() => {
      if (this.details.textContent === text) this.details.textContent = before;
    }, 2500);
  }
}
