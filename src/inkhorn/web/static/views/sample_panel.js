// One take: a text that is being written or has been, with what can be done with it.

import { toFragment } from "./share_link.js";
import { copy, count, make, say } from "./dom.js";
import { follow } from "./autoscroll.js";
import { hide, watch } from "./token_tooltip.js";
import { Play } from "./text_view.js";
import { newSeed } from "./settings.js";

const SEEN = 8; // characters that go with a Continue for each token of the model's block: what is before, it cannot see

export class Take {
  /** `wishes`: client, model(), settings(), onInside(take, end), onChange(), onFault(error) */
  constructor(number, wishes) {
    Object.assign(this, wishes);
    this.number = number;
    this.writing = null; // an AbortController, while it writes
    this.details = make("span.details");
    this.fault = make("p.fault", { role: "alert", hidden: true });
    const button = (name, act, title) => make("button", { type: "button", title, onclick: () => this.writing || act() }, name);
    this.tools = make("div.tools", { role: "group", "aria-label": `Take ${number}` },
      button("Continue", () => this.goOn(), "Go on from what stands here"),
      button("Regenerate", () => this.regenerate(), "The same beginning and settings with a new seed"),
      button("Copy", () => this.copyText(), "Copy the text"),
      button("Save", () => this.download(), "Download the text as a file"),
      button("Share", () => this.share(), "Copy a link that writes this text again"));
    this.page = make("div.page");
    this.root = make("article.take", { "aria-label": `Take ${number}` },
      make("header", make("h2", `Take ${number}`), this.details), this.page, this.fault, this.tools);
    this.clear("");
  }

  clear(prompt) {
    this.prompt = prompt;
    this.parts = [];
    this.fingerprint = "";
    const root = make("div.play", { tabIndex: 0, role: "group",
      "aria-label": `Text of take ${this.number}. The arrow keys go over the characters and tell how likely each was, Enter looks inside.` });
    hide();
    this.page.replaceChildren(root);
    this.play = new Play(root);
    this.play.give(prompt);
    watch(this.play, (end) => this.onInside(this, end));
  }

  /** Write a prompt and its parts from the beginning. */
  async write(prompt, model, parts) {
    this.stop();
    this.clear(prompt);
    this.modelId = model;
    this.plan = parts;
    for (const part of parts) {
      if (!(await this.writePart(part))) return;
    }
  }

  regenerate() {
    const seed = newSeed();
    this.write(this.prompt, this.modelId, this.wanted.map((part, i) => ({ ...part, seed: seed + i, tokens: null })));
  }

  /** Go on from what stands there, as the form says now. */
  goOn() {
    const { words, temperature, top_k, top_p, min_p } = this.settings();
    const seed = (this.parts[0]?.seed ?? newSeed()) + this.parts.length;
    return this.writePart({ words, temperature, top_k, top_p, min_p, seed, tokens: null });
  }

  get wanted() {
    return this.parts.length ? this.parts : [this.part];
  }

  /** Write one part; true if it came to its end. */
  async writePart(part) {
    const control = new AbortController();
    const { play } = this;
    const model = this.model(this.modelId);
    const begun = performance.now();
    const length = play.text.length;
    const pieces = [];
    let came = 0;
    let frame = 0;
    const show = () => {
      frame = 0;
      for (const { tokens } of pieces.splice(0)) play.append(tokens);
      follow();
    };
    const onPiece = (piece) => {
      if (this.writing !== control) return; // stopped: what is still under way does not count
      came += piece.tokens.length;
      pieces.push(piece);
      frame ||= requestAnimationFrame(show);
    };
    this.part = part;
    this.writing = control;
    this.setBusy(true);
    let end;
    try {
      end = await this.client.complete(this.request(part, model), { onPiece, signal: control.signal });
      this.fingerprint = end.fingerprint || this.fingerprint || model.fingerprint;
    } catch (error) {
      if (this.play === play) this.showFault(error, came === 0);
    }
    if (this.play !== play) return false; // written anew in the meantime
    cancelAnimationFrame(frame);
    show();
    const whole = end !== undefined && end.finish_reason !== "abort";
    if (came) this.parts.push(whole ? part : { ...part, tokens: came });
    if (this.writing === control) this.writing = null;
    this.setBusy(false);
    this.tell(play.text.length - length, performance.now() - begun, end?.finish_reason);
    return whole;
  }

  request({ words, tokens, temperature, top_k, top_p, min_p, seed }, model) {
    const { text } = this.play;
    const prompt = text.length === this.prompt.length ? text : text.slice(-Math.max(SEEN * model.block_size, 1));
    const max_tokens = tokens ?? Infinity;
    return { model: model.id, prompt, max_tokens, max_words: words, temperature, top_k, top_p, min_p, seed, logprobs: 5 };
  }

  stop() {
    this.writing?.abort();
  }

  setBusy(busy) {
    if (busy) this.fault.hidden = true;
    this.root.classList.toggle("writing", busy);
    this.page.setAttribute("aria-busy", String(busy));
    for (const tool of this.tools.children) tool.setAttribute("aria-disabled", String(busy)); // disabled would lose the focus
    if (busy) this.details.textContent = "writing …";
    this.onChange();
  }

  tell(characters, milliseconds, reason) {
    const { seed } = this.wanted[0];
    const rate = characters > 20 && milliseconds > 0 ? ` at ${count((characters / milliseconds) * 1000)} a second` : "";
    this.details.textContent = `seed ${seed}, ${count(this.play.text.length)} characters${rate}`;
    const how = { abort: "stopped", stop: "came to an end of its own" }[reason] ?? "finished";
    if (reason) say(`Take ${this.number} ${how}: ${count(characters)} characters written.`);
  }

  showFault(error, nothing) {
    const retry = () => (nothing && this.parts.length === 0 ? this.write(this.prompt, this.modelId, this.plan) : this.goOn());
    this.fault.replaceChildren(`${error.message} `, make("button", { type: "button", onclick: retry }, nothing ? "Try again" : "Continue"));
    this.fault.hidden = false;
    this.onFault(error);
  }

  async copyText() {
    await copy(this.play.text);
    this.done("Copied.");
  }

  download() {
    const url = URL.createObjectURL(new Blob([`${this.play.text}\n`], { type: "text/plain;charset=utf-8" }));
    const name = this.play.text.slice(0, 40).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
    make("a", { href: url, download: `${name || "inkhorn"}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async share() {
    const fragment = toFragment({ prompt: this.prompt, model: this.modelId, fingerprint: this.fingerprint, parts: this.wanted });
    history.replaceState(null, "", fragment);
    await copy(location.href);
    this.done("The link is copied: it writes this text again.");
  }

  done(text) {
    const before = this.details.textContent;
    this.details.textContent = text;
    say(text);
    setTimeout(() => {
      if (this.details.textContent === text) this.details.textContent = before;
    }, 2500);
  }
}
