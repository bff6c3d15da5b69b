// What the form says: presets, reading, filling, and remembering for the next visit.

import { find } from "./dom.js";

const STORE = "inkhorn-settings";
const NUMBERS = ["words", "temperature", "top_k", "top_p", "min_p"];
const PRESETS = {
  careful: { temperature: 0.5, top_k: 0, top_p: 0.9, min_p: 0 },
  balanced: { temperature: 0.8, top_k: 0, top_p: 1, min_p: 0 },
  wild: { temperature: 1.15, top_k: 0, top_p: 1, min_p: 0.02 },
};

/** The seed of a text for which none was asked. Six digits can be read out to somebody. */
export const newSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1000000;

export class Settings {
  constructor(form) {
    this.form = form;
    this.field = form.elements;
    this.fill(this.remembered());
    form.addEventListener("input", (event) => this.changed(event.target));
    form.addEventListener("click", ({ target }) => {
      if (target.dataset?.words) this.fill({ words: target.dataset.words });
    });
  }

  /** {prompt, words, temperature, top_k, top_p, min_p, seed (null: a new one), takes, model, shade} */
  read() {
    const values = Object.fromEntries(NUMBERS.map((name) => [name, Number(this.field[name].value)]));
    const seed = this.field.seed.value.trim();
    return {
      ...values,
      prompt: this.field.prompt.value,
      seed: seed === "" ? null : Number(seed),
      takes: Number(this.field.takes.value),
      model: this.field.model.value,
      shade: this.field.shade.checked,
    };
  }

  fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.field[name];
      if (!field) continue;
      if (name === "shade") field.checked = value;
      else field.value = value ?? "";
    }
    this.show();
    this.remember();
  }

  changed(target) {
    if (target.name === "preset" && target.value === "own") {
      find("#sampling").open = true;
      return;
    }
    if (target.name === "preset") this.fill(PRESETS[target.value]);
    this.show();
    this.remember();
  }

  /** The numbers beside the sliders, the preset that they are, the length that it is. */
  show() {
    for (const output of this.form.querySelectorAll("output")) output.value = this.field[output.htmlFor[0]].value;
    const now = this.read();
    const same = ([, preset]) => Object.entries(preset).every(([name, value]) => now[name] === value);
    this.field.preset.value = Object.entries(PRESETS).find(same)?.[0] ?? "own";
    for (const chip of this.form.querySelectorAll("[data-words]")) {
      chip.setAttribute("aria-pressed", String(Number(chip.dataset.words) === now.words));
    }
  }

  /** Fill the model selector, which is there only if there is something to select. */
  offer(models) {
    const wanted = this.field.model.value || this.remembered().model;
    this.field.model.replaceChildren(...models.map(({ id }) => new Option(id, id)));
    if (models.some(({ id }) => id === wanted)) this.field.model.value = wanted;
    find("#model-field").hidden = models.length < 2;
  }

  remember() {
    try {
      localStorage.setItem(STORE, JSON.stringify({ ...this.read(), seed: null })); // the next visit brings a new text
    } catch {
      // a browser that keeps nothing: the settings last as long as the page
    }
  }

  remembered() {
    try {
      return JSON.parse(localStorage.getItem(STORE)) ?? {};
    } catch {
      return {};
    }
  }
}
