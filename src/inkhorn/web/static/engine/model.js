// @ts-check
// Loading the model that `inkhorn export --web` wrote beside the page.

/** @import { PageSettings } from "../api/client.js" */
/** @import { Config, KernelFactory, Tensor } from "./gpt.js" */
/** @import { TokenizerOptions, TokenizerSpec } from "./tokenizer.js" */

import { GPT } from "./gpt.js";
import { scalarKernels } from "./kernels_scalar.js";
import { wasmKernels } from "./kernels_wasm.js";
import { Tokenizer } from "./tokenizer.js";

/**
 * @typedef {object} Metadata the content of model.json
 * @property {string} id
 * @property {string} fingerprint
 * @property {number} parameters
 * @property {number} bytes size of weights.safetensors
 * @property {Config} config
 * @property {TokenizerOptions} tokens
 * @property {PageSettings} settings
 *
 * @typedef {{ metadata: Metadata, gpt: GPT, tokenizer: Tokenizer }} Model
 */

/**
 * The tensors of a safetensors file: the length of a header, the header in JSON, and the data.
 * @param {ArrayBuffer} buffer
 */
export function parseSafetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__, ...header } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  /** @type {Record<string, Tensor>} */
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)) {
    const data = buffer.slice(8 + length + begin, 8 + length + end);
    tensors[name] = { shape, data: dtype === "I8" ? new Int8Array(data) : new Float32Array(data) };
  }
  return tensors;
}

/**
 * The fastest kernels of this browser; both kinds compute the same numbers.
 * @type {KernelFactory}
 */
function fastestKernels(bytes) {
  try {
    return wasmKernels(bytes);
  } catch {
    return scalarKernels(bytes);
  }
}

/**
 * @param {Metadata} metadata
 * @param {TokenizerSpec} spec tokenizer.json
 * @param {ArrayBuffer} weights the bytes of weights.safetensors
 * @returns {Model}
 */
export function makeModel(metadata, spec, weights, kernels = fastestKernels) {
  const gpt = new GPT(metadata.config, parseSafetensors(weights), kernels);
  return { metadata, gpt, tokenizer: new Tokenizer(spec, metadata.tokens, metadata.config.vocab_size) };
}

/**
 * What the page needs to know of the model before the weights are loaded.
 * @returns {Promise<Metadata>}
 */
export const loadMetadata = async () => (await fetchFile("model.json")).json();

/**
 * @param {Metadata} metadata
 * @param {(loaded: number, total: number) => void} onProgress called with bytes as the weights arrive
 */
export async function loadModel(metadata, onProgress) {
  const [tokenizer, file] = await Promise.all([fetchFile("tokenizer.json"), fetchFile("weights.safetensors")]);
  const spec = await tokenizer.json();
  const weights = new Uint8Array(metadata.bytes);
  let loaded = 0;
  const reader = /** @type {ReadableStream<Uint8Array>} */ (file.body).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    if (loaded + value.length <= weights.length) weights.set(value, loaded);
    loaded += value.length;
    onProgress(loaded, metadata.bytes);
  }
  if (loaded !== metadata.bytes) throw new Error("The model's weights are incomplete. Reload the page.");
  return makeModel(metadata, spec, weights.buffer);
}

/** @param {string} name */
async function fetchFile(name) {
  const response = await fetch(new URL(`../model/${name}`, import.meta.url)).catch(() => null);
  if (!response?.ok) throw new Error(`The model file ${name} could not be loaded. Reload the page.`);
  return response;
}
