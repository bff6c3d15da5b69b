// @ts-check
// Loading the model that `inkhorn export --web` wrote beside the page.

/** @import { PageSettings } from "../api/client.js" */
/** @import { Config } from "./kernel.js" */
/** @import { TokenizerOptions, TokenizerSpec } from "./tokenizer.js" */

import { Kernel } from "./kernel.js";
import { Tokenizer } from "./tokenizer.js";

const PROGRESS_MS = 100; // between reports: a fast connection delivers a thousand pieces per second

/**
 * @typedef {object} Metadata the content of model.json
 * @property {string} id
 * @property {string} fingerprint
 * @property {number} parameters
 * @property {number} bytes size of weights.bin
 * @property {number} snapshot_bytes size of each file in the folder snapshots; 0 without
 * @property {Config} config
 * @property {TokenizerOptions} tokens
 * @property {PageSettings} settings
 *
 * @typedef {object} Model
 * @property {Metadata} metadata
 * @property {Kernel} kernel
 * @property {Tokenizer} tokenizer
 * @property {() => Promise<(name: string) => Float32Array>} activations loads the steering vectors and the means, by name
 */

/**
 * What the page needs to know of the model before the weights are loaded.
 * @returns {Promise<Metadata>}
 */
export const loadMetadata = async () => (await fetchFile("../model/model.json")).json();

/**
 * @param {Promise<Metadata>} loadingMetadata
 * @param {(loaded: number, total: number) => void} onProgress called with bytes as the weights arrive
 * @param {number} [step] load the snapshot of this step of the training run instead
 * @returns {Promise<Model>}
 */
export async function loadModel(loadingMetadata, onProgress, step) {
  const [metadata, kernel, spec, weights] = await Promise.all([
    loadingMetadata,
    fetchFile("kernel.wasm").then((file) => file.arrayBuffer()).then(Kernel.compile),
    fetchFile("../model/tokenizer.json").then((file) => file.json()),
    fetchFile(step === undefined ? "../model/weights.bin" : `../model/snapshots/${step}.bin`),
  ]);
  const bytes = step === undefined ? metadata.bytes : metadata.snapshot_bytes;
  await fill(kernel.allocate(bytes), /** @type {ReadableStream<Uint8Array>} */ (weights.body), onProgress);
  return makeModel({ ...metadata, bytes }, spec, kernel, () => fetchFile("../model/activations.safetensors").then((file) => file.arrayBuffer()));
}

/**
 * @param {Metadata} metadata
 * @param {TokenizerSpec} spec tokenizer.json
 * @param {Kernel} kernel whose memory holds the weights
 * @param {() => Promise<ArrayBuffer>} fetchActivations reads activations.safetensors
 * @returns {Model}
 */
export function makeModel(metadata, spec, kernel, fetchActivations) {
  const tokenizer = new Tokenizer(spec, metadata.tokens, metadata.config.vocab_size);
  kernel.open(metadata.bytes, metadata.config, tokenizer.bannedIds);
  /** @type {Promise<(name: string) => Float32Array> | undefined} */
  let loading;
  const activations = () => {
    loading ??= fetchActivations().then(readTensors).catch((error) => {
      loading = undefined; // the next call tries again
      throw error;
    });
    return loading;
  };
  return { metadata, kernel, tokenizer, activations };
}

/**
 * The float32 tensors of a safetensors file, by name.
 * @param {ArrayBuffer} file
 * @returns {(name: string) => Float32Array}
 */
function readTensors(file) {
  const start = 8 + Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, start - 8)));
  return (name) => {
    const [begin, end] = header[name].data_offsets;
    return new Float32Array(file, start + begin, (end - begin) / 4);
  };
}

/**
 * Write a stream into memory.
 * @param {Uint8Array} memory
 * @param {ReadableStream<Uint8Array>} stream
 * @param {(loaded: number, total: number) => void} onProgress
 */
async function fill(memory, stream, onProgress) {
  let loaded = 0;
  let reported = performance.now();
  const reader = stream.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    if (loaded + value.length <= memory.length) memory.set(value, loaded);
    loaded += value.length;
    if (performance.now() - reported < PROGRESS_MS && loaded < memory.length) continue;
    reported = performance.now();
    onProgress(loaded, memory.length);
  }
  if (loaded !== memory.length) throw new Error("The model's weights are incomplete. Reload the page.");
}

/** @param {string} path relative to this file */
export async function fetchFile(path) {
  const response = await fetch(new URL(path, import.meta.url)).catch(() => null);
  if (!response?.ok) throw new Error(`The model file ${path.split("/").at(-1)} could not be loaded. Reload the page.`);
  return response;
}
