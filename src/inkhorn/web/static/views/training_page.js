// @ts-check
// The view "Training": the slider over the snapshots of the model's run, for any prompt.

/** @import { Client, ModelInfo, SnapshotResponse, TrainingFacts } from "../api/client.js" */

import { button, make } from "./dom.js";
import { TrainingView } from "./training.js";

const TOKENS = 200; // that each snapshot writes
const MAX_CACHED = 100; // answers

export class TrainingPage {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.prompt = make("textarea", { id: "training-prompt", rows: 3, spellcheck: false, onchange: () => this.show() });
    this.about = make("p.about");
    this.view = new TrainingView();
    this.key = "";
    /** @type {Map<string, Promise<SnapshotResponse>>} */
    this.answers = new Map();
    root.append(make("h2", "Training"), this.about,
      make("p.field", make("label", { htmlFor: "training-prompt" }, "Prompt"), this.prompt), this.view.root);
  }

  /**
   * @param {Client} client
   * @param {ModelInfo} model
   * @param {TrainingFacts | null | undefined} training
   */
  open(client, model, training) {
    this.about.textContent = training
      ? `Copies of ${model.id} from its training, with weights of eight bits. All get this prompt and the seed ${training.seed}. Move the slider: text, attention weights, predictions of each block and loss belong to that step.`
      : "This model has no snapshots of its training. A model that inkhorn train has trained has some, if it is served from its run’s folder.";
    for (const element of [this.view.root, this.prompt.parentElement]) element?.toggleAttribute("hidden", !training);
    if (!training || this.key === model.fingerprint) return;
    this.key = model.fingerprint;
    this.prompt.value = training.prompt;
    this.answers.clear();
    this.client = client;
    this.model = model;
    this.training = training;
    this.show();
  }

  /**
   * @param {Error} error
   * @param {() => void} retry
   */
  fail(error, retry) {
    this.about.replaceChildren(`${error.message} `, button("Try again", retry));
  }

  show() {
    const { client, model, training } = this;
    if (!client || !model || !training) return;
    const prompt = this.prompt.value;
    this.view.open({
      snapshots: training.snapshots,
      prompt,
      frame: (step, layer) => {
        const key = JSON.stringify([step, layer, prompt]);
        const known = this.answers.get(key);
        if (known) return known;
        if (this.answers.size >= MAX_CACHED) this.answers.clear();
        const answer = client.snapshot({ model: model.id, step, text: prompt, seed: training.seed, max_tokens: TOKENS, layer });
        answer.catch(() => this.answers.delete(key)); // so that it can be tried again
        this.answers.set(key, answer);
        return answer;
      },
    });
  }
}
