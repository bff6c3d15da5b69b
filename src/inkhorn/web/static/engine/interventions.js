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
async function resolve(model, { component, layer, head = 0, action = "zero", factor = 1, vector, prompt = "", source_position = -1, position = -1 }, promptTokens) {
  const edit = { site: SITES[component], layer, head };
  if (action === "zero") return { ...edit, scale: 0 };
  if (action === "scale") return { ...edit, scale: factor };
  if (action === "add") {
    const direction = typeof vector === "string" ? steeringVector(model, vector, layer) : vector;
    return { ...edit, vector: (direction ?? []).map((value) => value * factor) };
  }
  if (action === "patch" && component === "resid") {
    const first = index(position, promptTokens, "prompt");
    return { ...edit, scale: 0, vector: await residual(model, prompt, layer, source_position), first, end: first + 1 };
  }
  throw new Error(`The page in the browser cannot do ${action} for ${component}: use inkhorn serve.`);
}

/**
 * @param {Model} model
 * @param {string} name
 * @param {number} layer
 */
function steeringVector({ metadata }, name, layer) {
  const found = metadata.steering?.[name];
  if (!found) throw new Error(`This model has no steering vector ${name}.`);
  if (found.layer !== layer) throw new Error(`${name} belongs to layer ${found.layer}, not ${layer}.`);
  return found.vector;
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
 * The residual stream before a layer at a token of a prompt.
 * @param {Model} model
 * @param {string} prompt
 * @param {number} layer
 * @param {number} source
 * @returns {Promise<number[]>}
 */
function residual({ metadata, kernel, tokenizer }, prompt, layer, source) {
  const all = tokenizer.encode(prompt);
  const ids = all.slice(-metadata.config.block_size);
  const at = index(source, all.length, "source prompt") - (all.length - ids.length);
  if (at < 0) throw new Error(`The model reads only the last ${ids.length} tokens of the source prompt.`);
  return kernel.withSession(async (session) => {
    for (let start = 0; ; start += TRACE_TOKENS) {
      const { residual: rows } = session.trace(ids.slice(start, start + TRACE_TOKENS), 0);
      if (at < start + TRACE_TOKENS) return [...rows(layer, at - start)];
    }
  });
}
