// @ts-check
// The page: connects its parts and handles its events.

/** @import { Atlas, Client, ModelInfo, PageFacts } from "./api/client.js" */
/** @import { Inspector } from "./views/inspector.js" */
/** @import { Callbacks } from "./views/sample_panel.js" */
/** @import { SharedText } from "./views/share_link.js" */
/** @import { Tour } from "./tour/tour.js" */
/** @import { TrainingPage } from "./views/training_page.js" */

import { makeClient } from "./api/client.js";
import { resetAutoscroll } from "./views/autoscroll.js";
import { Changes } from "./views/changes.js";
import { button, find, formatCount, make } from "./views/dom.js";
import { describeChange } from "./views/prompt_change.js";
import { SamplePanel } from "./views/sample_panel.js";
import { randomSeed, Settings } from "./views/settings.js";
import { TextHistory } from "./views/text_history.js";
import { initTheme } from "./views/theme.js";

initTheme();
/** @type {HTMLFormElement} */
const form = find("#form");
const settings = new Settings(form);
const sampleGrid = find("#samples");
const stopButton = find("#stop");
/** @type {HTMLDialogElement} */
const dialog = find("#inspector");
/** @type {Client | undefined} */
let client;
/** @type {ModelInfo[]} */
let models = [];
/** @type {Record<string, PageFacts>} */
let facts = {}; // of each model
let shownModel = "";
/** @type {SamplePanel[]} */
let samples = [];
/** @type {Inspector | undefined} */
let inspector; // made when first needed
/** @type {Tour | undefined} */
let tour;
/** @type {TrainingPage | undefined} */
let training;

/** @type {Record<string, Promise<Atlas>>} */
const atlases = {};

/**
 * The head atlas of a model; null if it has none.
 * @param {string} id
 * @returns {Promise<Atlas | null>}
 */
async function atlasOf(id) {
  if (!client || !facts[id]?.atlas) return null;
  atlases[id] ??= client.atlas(id);
  return atlases[id].catch((error) => {
    delete atlases[id]; // the next call tries again
    throw error;
  });
}

const changes = new Changes(find("#interventions"), { onChange: compare, atlas: atlasOf });

const VIEWS = ["playground", "tour", "training"];
/** @type {Record<string, string>} */
const TITLES = { tour: "How it works", training: "Training" };

const findModel = (/** @type {string} */ id) => models.find((model) => model.id === id) ?? models[0];

/** @type {Callbacks} */
const callbacks = {
  settings: () => settings.read(),
  model: findModel,
  layout: (id) => (facts[id] ?? facts[models[0]?.id])?.layout ?? "plain",
  onInspect: (sample, end) => texts.inspect(sample, end),
  onChange: () => {
    const running = samples.some((sample) => sample.running);
    stopButton.setAttribute("aria-disabled", String(!running));
    if (!running) texts.store();
    texts.dropStaleLink();
  },
  onPrompt: (change) => showNote(describeChange(change)),
  onError: (error) => {
    if (error.needsKey) askForKey();
  },
};

const texts = new TextHistory({ samples: () => samples, setSamples, openLink, inspecting: () => dialog.open, inspect });

/**
 * Open the inspector, or move it to another token.
 * @param {SamplePanel} sample
 * @param {number} end the offset after the token
 */
async function inspect(sample, end) {
  if (!client) return;
  inspector ??= new (await import("./views/inspector.js")).Inspector(dialog, client, { grid: changes.grid, atlas: atlasOf });
  inspector.open({ model: findModel(sample.modelId), view: sample.view, end, interventions: sample.interventions });
}

/**
 * Replace the samples by empty ones, except for the first ones that are kept.
 * @param {Client} client
 * @param {number} count
 * @param {SamplePanel[]} kept
 */
function setSamples(client, count, kept = []) {
  for (const sample of samples) if (!kept.includes(sample)) sample.stop();
  samples = Array.from({ length: count }, (_, i) => kept[i] ?? new SamplePanel(i + 1, client, callbacks));
  sampleGrid.dataset.count = String(count);
  sampleGrid.replaceChildren(...samples.map((sample) => sample.root));
  resetAutoscroll();
  updateShading();
}

function generate() {
  withModels((client) => {
    if (!form.checkValidity()) {
      find("#sampling").setAttribute("open", "");
      form.reportValidity();
      return;
    }
    const { prompt, samples: count, model, seed, words, temperature, top_k, top_p, min_p } = settings.read();
    const first = seed ?? randomSeed();
    showNote("");
    texts.dropLink();
    const comparing = changes.interventions.length > 0;
    setSamples(client, comparing ? 1 : count);
    samples.forEach((sample, i) => {
      sample.generate(prompt, findModel(model).id, [{ words, temperature, top_k, top_p, min_p, seed: first + i, tokens: null }]);
    });
    if (comparing) compare();
    if (sampleGrid.getBoundingClientRect().top > innerHeight * 0.6) find("#output").scrollIntoView({ block: "start" });
  });
}

/** Generate the first text again with the changed model, beside the original: same prompt, settings and seed. */
function compare() {
  const [original] = samples;
  if (!client || !original || original.interventions.length) return;
  const existing = samples.find((sample) => sample.interventions.length);
  const { interventions } = changes;
  if (interventions.length === 0) {
    if (existing) setSamples(client, 1, [original]);
    return;
  }
  if (!existing) setSamples(client, 2, [original]);
  samples[1].generate(original.prompt, original.modelId, original.sharedSegments, interventions);
}

function stopAll() {
  for (const sample of samples) sample.stop();
}

/**
 * Generate the text of a link again, and fill in its settings.
 * @param {Client} client
 * @param {SharedText} link
 */
function openLink(client, link) {
  const model = findModel(link.model);
  const { words, temperature, top_k, top_p, min_p, seed } = link.segments[0];
  settings.fill({ words, temperature, top_k, top_p, min_p, seed, prompt: link.prompt, samples: 1, model: model.id });
  const details = `The link was made with ${link.model} (${link.fingerprint}); this is ${model.id} (${model.fingerprint}).`;
  showNote(model.fingerprint === link.fingerprint ? "" : `This server uses a different model or CPU: the text may differ from the shared one. ${details}`);
  changes.show(model, facts[model.id]);
  changes.set(link.interventions);
  setSamples(client, link.interventions.length ? 2 : 1);
  samples.forEach((sample, i) => { sample.generate(link.prompt, model.id, link.segments, i ? link.interventions : []); });
}

/** @param {string} text */
function showNote(text) {
  find("#note").textContent = text;
  find("#note").hidden = text === "";
}

/**
 * Run something that needs the client and its models; if they are not available, show the error and a button to retry.
 * @param {(client: Client) => void} run
 */
async function withModels(run) {
  sampleGrid.querySelector(":scope > .error")?.remove();
  let ready;
  try {
    ready = await readyClient();
  } catch (error) {
    sampleGrid.querySelector(":scope > .error")?.remove();
    sampleGrid.prepend(make("p.error", { role: "alert" }, `${error.message} `, button("Try again", () => withModels(run))));
    return;
  }
  run(ready);
}

/** The client, when its models are known. */
async function readyClient() {
  try {
    client ??= await makeClient();
    if (models.length === 0) await loadModels(client);
    return client;
  } catch (error) {
    if (error.needsKey) askForKey();
    throw error;
  }
}

/** @param {Client} client */
async function loadModels(client) {
  const [declared, available] = await Promise.all([client.settings(), client.models()]);
  models = available;
  facts = declared.models;
  settings.setModels(models); // first: declare() stores the settings, the selected model among them
  settings.declare(declared);
  showModel();
}

/** Show what the page says of the selected model. */
function showModel() {
  const { model: selected, prompt } = settings.read();
  const model = findModel(selected);
  if (!model) return;
  changes.show(model, facts[model.id]);
  const { id, parameters, n_layer, n_head, n_embd, block_size, vocab_size, backend } = model;
  find("#about").textContent = `${id}: ${formatCount(parameters)} parameters, ${n_layer} layers, ${n_head} heads, embedding size ${n_embd}, `
    + `context of ${formatCount(block_size)} tokens, vocabulary of ${formatCount(vocab_size)}. `
    + (backend === "browser" ? "Runs in this browser." : `Runs on the server: ${backend}.`);
  const before = facts[shownModel];
  if (id === shownModel || !facts[id]) return;
  shownModel = id;
  const { title, tagline, layout, openings } = facts[id];
  find('[data-view="training"]').hidden = !facts[id].training;
  if (before?.openings.some((one) => one.prompt === prompt)) settings.fill({ prompt: openings[0]?.prompt ?? "" });
  for (const element of document.querySelectorAll(".model-title")) element.textContent = title;
  find("#tagline").textContent = tagline;
  document.body.dataset.layout = layout;
  find("#examples").replaceChildren(...openings.map((one) => button(one.label, () => {
    settings.fill({ prompt: one.prompt });
    generate();
  }, { title: one.prompt })));
  find("#examples").hidden = openings.length === 0;
  showTitle();
}

function showTitle() {
  const title = facts[shownModel]?.title ?? find("h1").textContent;
  document.title = VIEWS.filter((view) => TITLES[view] && !find(`#${view}`).hidden).map((view) => `${TITLES[view]}: `).join("") + title;
}

function askForKey() {
  find("#key-field").hidden = false;
  find("#key").focus();
}

function updateShading() {
  const { shade } = settings.read();
  find("#output").classList.toggle("shaded", shade);
  find("#legend").hidden = !shade;
}

/** Show the view that the fragment names, or the text that it links to. */
async function route() {
  if (location.hash === "#content") return; // the skip link
  if (dialog.open && !history.state?.inspector) dialog.close();
  const view = VIEWS.find((name) => location.hash.split("/")[0] === `#${name}`) ?? "playground";
  for (const name of VIEWS) find(`#${name}`).hidden = view !== name;
  for (const item of document.querySelectorAll("[data-view]")) {
    if (item.getAttribute("data-view") === view) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  showTitle();
  await withModels((client) => {
    texts.showEntry(client);
    const changed = samples.find((sample) => sample.interventions.length);
    if (changed) changes.set(changed.interventions);
  });
  if (view === "tour") openTour();
  if (view !== "training") return;
  scrollTo(0, 0);
  openTraining();
}

/** Show the tour, with the first generated text or with an example of the selected model. */
async function openTour() {
  const { Tour, stepOf } = await import("./tour/tour.js");
  const step = stepOf(location.hash);
  if (step < 0) return; // left again
  tour ??= new Tour(find("#tour"));
  try {
    const ready = await readyClient();
    const sample = samples.find(({ view }) => view.tokens.length > 0);
    const model = findModel(sample?.modelId ?? settings.read().model);
    const prompt = facts[model.id]?.openings[0]?.prompt ?? "The ";
    await tour.open(ready, { model, prompt, text: sample?.view.text ?? "", isWhole: sample?.view.prompt === "" }, step);
  } catch (error) {
    tour.fail(error, openTour);
  }
}

/** Show the slider over the training of the selected model. */
async function openTraining() {
  const { TrainingPage } = await import("./views/training_page.js");
  training ??= new TrainingPage(find("#training"));
  try {
    const ready = await readyClient();
    const model = findModel(settings.read().model);
    training.open(ready, model, facts[model.id]?.training);
  } catch (error) {
    training.fail(error, openTraining);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});
form.addEventListener("change", () => {
  updateShading();
  showModel();
});
stopButton.addEventListener("click", stopAll);
find("#key").addEventListener("change", async ({ target }) => {
  (await import("./api/http.js")).setKey(/** @type {HTMLInputElement} */ (target).value);
});
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !find("#playground").hidden) generate();
  else if (event.key === "Escape" && !dialog.open) stopAll();
});
addEventListener("popstate", route); // also when a link changes the fragment
addEventListener("pagehide", () => texts.store());
addEventListener("visibilitychange", () => document.hidden && texts.store());
dialog.addEventListener("close", () => { // by a button or a key: leave the inspector's history entry
  if (history.state?.inspector) history.back();
});
addEventListener("inkhorn-progress", (event) => { // the static page: the weights are being loaded
  const { loaded, total } = /** @type {CustomEvent<{ loaded: number, total: number }>} */ (event).detail;
  const progress = `Loading the model: ${Math.round((100 * loaded) / total)} % of ${(total / 1e6).toFixed(1)} MB`;
  for (const sample of samples) sample.showWaiting(loaded < total ? progress : "generating …");
  if (loaded < total) find("#about").textContent = progress;
  else showModel();
});

updateShading();
route();
