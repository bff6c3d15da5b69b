// The page: puts its parts together and hears what is pressed.

import { makeClient } from "./api/client.js";
import { count, find, make } from "./views/dom.js";
import { stayHere } from "./views/autoscroll.js";
import { fromFragment } from "./views/share_link.js";
import { newSeed, Settings } from "./views/settings.js";
import { Take } from "./views/sample_panel.js";
import { startTheme } from "./views/theme.js";

startTheme();
const settings = new Settings(find("#form"));
const sheet = find("#takes");
const stop = find("#stop");
let client;
let models = [];
let takes = [];
let inside; // made when first needed
let tour;

const modelCalled = (id) => models.find((model) => model.id === id) ?? models[0];

const wishes = {
  settings: () => settings.read(),
  model: modelCalled,
  onInside: async (take, end) => {
    inside ??= new (await import("./views/inspector.js")).Inside(find("#inside"), client);
    inside.open({ model: modelCalled(take.modelId), play: take.play, end });
  },
  onChange: () => stop.setAttribute("aria-disabled", String(!takes.some((take) => take.writing))),
  onFault: (error) => {
    if (error.needsKey) askForKey();
  },
};

/** Empty takes, one beside the other. */
function setTakes(number) {
  stopAll();
  takes = Array.from({ length: number }, (_, i) => new Take(i + 1, { ...wishes, client }));
  sheet.dataset.count = number;
  sheet.replaceChildren(...takes.map((take) => take.root));
  stayHere();
  shade();
}

function write() {
  const form = find("#form");
  if (!form.reportValidity()) {
    find("#sampling").open = true;
    form.reportValidity();
    return;
  }
  const { prompt, takes: number, model, seed, words, temperature, top_k, top_p, min_p } = settings.read();
  const first = seed ?? newSeed();
  note("");
  if (fromFragment(location.hash)) history.replaceState(null, "", "#write");
  withModels(() => {
    setTakes(number);
    takes.forEach((take, i) => {
      take.write(prompt, modelCalled(model).id, [{ words, temperature, top_k, top_p, min_p, seed: first + i, tokens: null }]);
    });
    if (sheet.getBoundingClientRect().top > innerHeight * 0.6) find("#sheet").scrollIntoView({ block: "start" });
  });
}

function stopAll() {
  for (const take of takes) take.stop();
}

/** Fill in everything that a link says, and write its text again. */
function openLink(link) {
  const [first] = link.parts;
  settings.fill({ ...first, prompt: link.prompt, takes: 1 });
  withModels(() => {
    const model = modelCalled(link.model);
    settings.fill({ model: model.id });
    const where = `The link was made with ${link.model} (${link.fingerprint}); here it is ${model.id} (${model.fingerprint}).`;
    note(model.fingerprint === link.fingerprint ? "" : `Other weights, or other arithmetic: the text may differ from what was shared. ${where}`);
    setTakes(1);
    takes[0].write(link.prompt, model.id, link.parts);
  });
}

function note(text) {
  find("#note").textContent = text;
  find("#note").hidden = text === "";
}

/** Do something that needs to know the models; if they cannot be had, say so, with the way out. */
async function withModels(act) {
  try {
    client ??= await makeClient();
    if (models.length === 0) await learnModels();
  } catch (error) {
    if (error.needsKey) askForKey();
    const retry = make("button", { type: "button", onclick: () => withModels(act) }, "Try again");
    const fault = make("p.fault", { role: "alert" }, `${error.message} `, retry);
    sheet.querySelector(":scope > .fault")?.remove();
    sheet.prepend(fault);
    return;
  }
  sheet.querySelector(":scope > .fault")?.remove();
  act();
}

async function learnModels() {
  models = await client.models();
  settings.offer(models);
  about();
}

function about() {
  const model = modelCalled(settings.read().model);
  if (!model) return;
  find("#about").textContent = `${model.id}: ${count(model.parameters)} parameters in ${model.n_layer} layers of ${model.n_head} heads, `
    + `${model.n_embd} wide; sees ${model.block_size} tokens of ${model.vocab_size} kinds. Runs ${model.backend === "browser" ? "in this browser" : `on ${model.backend}`}.`;
}

async function askForKey() {
  find("#key-field").hidden = false;
  find("#key").focus();
}

function shade() {
  const on = settings.read().shade;
  find("#sheet").classList.toggle("shaded", on);
  find("#legend").hidden = !on;
}

/** The fragment says which part of the page is seen, or holds a link to a text. */
async function route() {
  if (location.hash === "#content") return; // the skip link
  const link = fromFragment(location.hash);
  const view = location.hash === "#tour" ? "tour" : "write";
  find("#write").hidden = view !== "write";
  find("#tour").hidden = view !== "tour";
  for (const one of document.querySelectorAll("[data-view]")) {
    if (one.dataset.view === view) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  document.title = view === "tour" ? "How this works: Inkhorn" : "Inkhorn";
  if (link) openLink(link);
  if (view !== "tour") return;
  scrollTo(0, 0);
  tour ??= new (await import("./views/tour.js")).Tour(find("#tour"), () => client);
  const written = takes.find((take) => take.play.tokens.length > 0);
  tour.open(written && { model: modelCalled(written.modelId), text: written.play.text, temperature: written.wanted[0].temperature });
}

find("#form").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
find("#form").addEventListener("change", () => {
  shade();
  about();
});
stop.addEventListener("click", stopAll);
find("#key").addEventListener("change", async ({ target }) => (await import("./api/http.js")).useKey(target.value));
find("#openings").addEventListener("click", ({ target }) => {
  if (!target.dataset.prompt) return;
  settings.fill({ prompt: target.dataset.prompt });
  write();
});
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !find("#write").hidden) write();
  else if (event.key === "Escape" && !find("#inside").open) stopAll();
});
addEventListener("hashchange", route);
addEventListener("inkhorn-progress", ({ detail: { came, all } }) => { // without a server: the weights, on their way
  if (came < all) find("#about").textContent = `The model is being loaded: ${Math.round((100 * came) / all)} %`;
  else about();
});

shade();
if (!fromFragment(location.hash)) withModels(() => {});
route();
