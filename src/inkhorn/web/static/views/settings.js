// @ts-check
// The settings form: presets, bounds, reading, filling, and remembering values for the next visit.

/** @import { ModelInfo, PageSettings } from "../api/client.js" */

import { find } from "./dom.js";

const STORE = `inkhorn-settings:${new URL("./", location.href).pathname}`; // several pages may share a host

/** The numeric fields and the sampling parameter whose bounds, default and help each takes from the server. */
const PARAMETERS = /** @type {const} */ ({
  words: "max_words", temperature: "temperature", top_k: "top_k", top_p: "top_p", min_p: "min_p",
});
const SAMPLING = /** @type {const} */ (["temperature", "top_k", "top_p", "min_p"]);

/** @typedef {"words" | typeof SAMPLING[number]} NumberField */
/** @typedef {Record<NumberField, number>} Numbers */

/**
 * What differs from the defaults.
 * @type {Record<string, Partial<Numbers>>}
 */
const PRESETS = {
  precise: { temperature: 0.5, top_p: 0.9 },
  balanced: {},
  creative: { temperature: 1.15, min_p: 0.02 },
};

/**
 * @typedef {object} OtherFields
 * @property {HTMLTextAreaElement} prompt
 * @property {HTMLInputElement} seed
 * @property {RadioNodeList} samples
 * @property {RadioNodeList} preset
 * @property {HTMLSelectElement} model
 * @property {HTMLInputElement} shade
 *
 * @typedef {Numbers & { prompt: string, seed: number | null, samples: number, model: string, shade: boolean }} Values
 */

/** A random seed for a text without a given one. Six digits are easy to read out. */
export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1000000;

export class Settings {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.fields = /** @type {OtherFields & Record<NumberField, HTMLInputElement>} */ (/** @type {unknown} */ (form.elements));
    /** @type {Partial<Numbers>} */
    this.defaults = {};
    this.edited = new Set(Object.keys(this.remembered()));
    this.fill(this.remembered());
    form.addEventListener("input", ({ target }) => this.changed(/** @type {HTMLInputElement} */ (target)));
    form.addEventListener("click", ({ target }) => {
      const words = /** @type {HTMLElement} */ (target).closest("[data-words]")?.getAttribute("data-words");
      if (words) this.fill({ words: Number(words) });
    });
  }

  /**
   * Take bounds, defaults and help from the server's declaration of the sampling parameters.
   * @param {PageSettings} settings
   */
  declare({ sampling }) {
    for (const [name, parameter] of Object.entries(PARAMETERS)) {
      const field = this.fields[/** @type {NumberField} */ (name)];
      const { minimum, exclusiveMinimum, maximum, default: standard, description } = sampling[parameter];
      const lowest = exclusiveMinimum === undefined ? minimum : exclusiveMinimum + Number(field.step);
      if (lowest !== undefined) field.min = String(lowest);
      if (maximum !== undefined) field.max = String(maximum);
      if (typeof standard === "number") this.defaults[/** @type {NumberField} */ (name)] = standard;
      const help = this.form.querySelector(`#${name}-help`);
      if (help) help.textContent = `${description[0].toUpperCase()}${description.slice(1)}.`;
    }
    const unset = Object.entries(this.defaults).filter(([name]) => !this.edited.has(name));
    this.fill(Object.fromEntries(unset));
  }

  /** @returns {Values} */
  read() {
    const { words, temperature, top_k, top_p, min_p, prompt, seed, samples, model, shade } = this.fields;
    return {
      words: Number(words.value),
      temperature: Number(temperature.value),
      top_k: Number(top_k.value),
      top_p: Number(top_p.value),
      min_p: Number(min_p.value),
      prompt: prompt.value.toWellFormed?.() ?? prompt.value,
      seed: seed.value.trim() === "" ? null : Number(seed.value),
      samples: Number(samples.value),
      model: model.value,
      shade: shade.checked,
    };
  }

  /** @param {Partial<Values>} values */
  fill(values) {
    const fields = /** @type {Record<string, HTMLInputElement>} */ (/** @type {unknown} */ (this.fields));
    for (const [name, value] of Object.entries(values)) {
      const field = fields[name];
      if (!field) continue;
      if (name === "shade") field.checked = Boolean(value);
      else field.value = String(value ?? "");
    }
    this.show();
    this.remember();
  }

  /** @param {HTMLInputElement} target */
  changed(target) {
    this.edited.add(target.name);
    if (target.name === "preset" && target.value === "custom") {
      find("#sampling").setAttribute("open", "");
      return;
    }
    if (target.name === "preset") this.fill({ ...this.samplingDefaults, ...PRESETS[target.value] });
    this.show();
    this.remember();
  }

  get samplingDefaults() {
    return Object.fromEntries(SAMPLING.map((name) => [name, this.defaults[name]]));
  }

  /** Update what follows from the values: the numbers beside the sliders, the preset, the length. */
  show() {
    for (const output of this.form.querySelectorAll("output")) {
      output.value = this.fields[/** @type {NumberField} */ (output.htmlFor[0])].value;
    }
    const values = this.read();
    const preset = Object.entries(PRESETS).find(([, changes]) =>
      Object.entries({ ...this.samplingDefaults, ...changes }).every(([name, value]) => values[/** @type {NumberField} */ (name)] === value));
    if (this.defaults.temperature !== undefined) this.fields.preset.value = preset?.[0] ?? "custom";
    for (const chip of this.form.querySelectorAll("[data-words]")) {
      chip.setAttribute("aria-pressed", String(Number(chip.getAttribute("data-words")) === values.words));
    }
  }

  /**
   * Fill the model selector, which is shown if there is a choice. A prompt that is remembered from a model that is gone
   * is replaced.
   * @param {ModelInfo[]} models
   */
  setModels(models) {
    const before = this.remembered();
    const selected = this.fields.model.value || before.model;
    if (before.model && !models.some(({ id }) => id === before.model) && this.fields.prompt.value === before.prompt) {
      this.fields.prompt.value = this.fields.prompt.defaultValue;
    }
    this.fields.model.replaceChildren(...models.map(({ id }) => new Option(id, id)));
    if (models.some(({ id }) => id === selected)) this.fields.model.value = selected;
    find("#model-field").hidden = models.length < 2;
  }

  remember() {
    if (this.defaults.temperature === undefined) return; // the form is not complete yet
    try {
      localStorage.setItem(STORE, JSON.stringify({ ...this.read(), seed: null })); // the next visit gets a new text
    } catch {
      // storage is blocked: the settings last until the page is closed
    }
  }

  remembered() {
    try {
      return JSON.parse(localStorage.getItem(STORE) ?? "{}");
    } catch {
      return {};
    }
  }
}
