// @ts-check
// From the interventions of a request to edits of the kernel, as inference/interventions.py.

/** @import { Intervention } from "../api/client.js" */
/** @import { Edit } from "./kernel.js" */
/** @import { Model } from "./model.js" */

const SITES = { head: 0, attn: 1, mlp: 2, resid: 3 };
const TRACE_TOKENS = 32; // per call of the kernel

/**
 * The edits for a prompt of so many tokens.
 * @param {Model} model
 * @param {Intervention[]} interventions
 * @param {number} promptTokens
 * @returns {Promise<Edit[]>}
 */
export async function resolveEdits(model, interventions, promptTokens) {
  /** @type {Edit[]} */
  const edits = [];
  for (const wanted of interventions) {
    check(wanted, model.metadata.config);
    const components = wanted.component === "layer" ? /** @type {const} */ (["attn", "mlp"]) : [wanted.component];
    for (const component of components) edits.push(await resolve(model, { ...wanted, component }, promptTokens));
  }
  return edits;
}

/**
 * @param {Intervention} wanted
 * @param {Model["metadata"]["config"]} config
 */
function check({ component, layer, head }, { n_layer, n_head }) {
  const layers = n_layer + (component === "resid" ? 1 : 0);
  if (!(layer >= 0 && layer < layers)) throw new Error(`Layer ${layer} does not exist: ${component} has layers 0 to ${layers - 1}.`);
  if (component === "head" && !(head !== undefined && head >= 0 && head < n_head)) throw new Error(`Head ${head} does not exist: a layer has heads 0 to ${n_head - 1}.`);
}

/**
 * @param {Model} model
 * @param {Intervention & { component: keyof typeof SITES }} wanted
 * @param {number} promptTokens
 * @returns {Promise<Edit>}
 */
async function resolve(model, wanted, promptTokens) {
  const { component, layer, head = 0, action = "zero", factor = 1, vector, position = -1 } = wanted;
  const edit = { site: SITES[component], layer, head };
  switch (action) {
    case "scale": return { ...edit, scale: factor };
    case "add": {
      const direction = typeof vector === "string" ? await steeringVector(model, vector, layer) : vector;
      return { ...edit, vector: Float32Array.from(direction ?? [], (value) => value * factor) };
    }
    case "mean": return { ...edit, scale: 0, vector: await mean(model, component, layer, head) };
    case "patch": {
      const first = index(position, promptTokens, "prompt");
      return { ...edit, scale: 0, vector: await activation(model, wanted), first, end: first + 1 };
    }
    default: return { ...edit, scale: 0 };
  }
}

/**
 * @param {Model} model
 * @param {string} name
 * @param {number} layer
 */
async function steeringVector({ metadata, activations }, name, layer) {
  const found = metadata.settings.models[metadata.id]?.steering.find((one) => one.name === name);
  if (!found) throw new Error(`This model has no steering vector ${name}.`);
  if (found.layer !== layer) throw new Error(`${name} belongs to layer ${found.layer}, not ${layer}.`);
  return (await activations())(`steering.${name}`);
}

/**
 * The mean of an activation over a reference text.
 * @param {Model} model
 * @param {keyof typeof SITES} component
 * @param {number} layer
 * @param {number} head
 */
async function mean({ metadata, activations }, component, layer, head) {
  if (!metadata.settings.models[metadata.id]?.means) throw new Error("This model has no mean activations: make them with inkhorn inspect, then export the page again.");
  const stream = layer === 0 ? "blocks.0.hook_resid_pre" : `blocks.${layer - 1}.hook_resid_post`;
  const name = component === "resid" ? stream : `blocks.${layer}.${component === "head" ? "attn.hook_z" : `hook_${component}_out`}`;
  const values = (await activations())(name);
  if (component !== "head") return values;
  const size = values.length / metadata.config.n_head;
  return values.subarray(head * size, (head + 1) * size);
}

/**
 * @param {number} position counted from the start, or from the end if it is negative
 * @param {number} length
 * @param {string} name
 */
function index(position, length, name) {
  if (position < -length || position >= length) throw new Error(`The ${name} has ${length} tokens: there is no token ${position}.`);
  return position < 0 ? position + length : position;
}

/**
 * An activation at a token of the prompt that a patch names.
 * @param {Model} model
 * @param {Intervention & { component: keyof typeof SITES }} patch
 * @returns {Promise<Float32Array>}
 */
function activation({ metadata, kernel, tokenizer }, { component, layer, head = 0, prompt = "", source_position = -1 }) {
  const all = tokenizer.encode(prompt);
  const ids = all.slice(-metadata.config.block_size);
  const at = index(source_position, all.length, "source prompt") - (all.length - ids.length);
  if (at < 0) throw new Error(`The model reads only the last ${ids.length} tokens of the source prompt.`);
  return kernel.withSession(async (session) => {
    for (let start = 0; ; start += TRACE_TOKENS) {
      const end = Math.min(start + TRACE_TOKENS, at + 1); // the token is the last one of a call
      const trace = session.trace(ids.slice(start, end), 0);
      if (end <= at) continue;
      if (component === "head") return trace.head(layer, head).slice();
      return (component === "resid" ? trace.residual(layer, at - start) : trace.update(layer, component === "attn" ? 0 : 1)).slice();
    }
  });
}
