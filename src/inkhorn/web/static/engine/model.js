// The model's files, as `inkhorn export --web` wrote them, made into what writes.

import { GPT } from "./gpt.js";
import { plain } from "./kernels_scalar.js";
import { simd } from "./kernels_wasm.js";
import { Tokenizer } from "./tokenizer.js";

const KINDS = { F32: Float32Array, I8: Int8Array };

/** The tensors of a safetensors file: the length of a header, the header in JSON, and the numbers. */
export function parse(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__, ...header } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)) {
    tensors[name] = { shape, data: new KINDS[dtype](buffer.slice(8 + length + begin, 8 + length + end)) };
  }
  return tensors;
}

/** The fastest memory that there is: both kinds give the same numbers. */
function fastest(bytes) {
  try {
    return simd(bytes);
  } catch {
    return plain(bytes);
  }
}

/** facts: model.json, spec: tokenizer.json, weights: the bytes of weights.safetensors. */
export function makeModel(facts, spec, weights, memory = fastest) {
  const gpt = new GPT(facts.config, parse(weights), memory);
  return { facts, gpt, tokenizer: new Tokenizer(spec, facts.tokens, facts.config.vocab_size) };
}

/** What the page needs to know of the model before its weights are there. */
export const loadFacts = async () => (await ask("model.json")).json();

/** Load the files that lie beside the page; `onProgress(bytes so far, all)` is called as the weights come. */
export async function loadModel(facts, onProgress) {
  const [tokens, file] = await Promise.all([ask("tokenizer.json"), ask("weights.safetensors")]);
  const spec = await tokens.json();
  const reader = file.body.getReader();
  const weights = new Uint8Array(facts.bytes);
  let came = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    if (came + value.length <= weights.length) weights.set(value, came);
    came += value.length;
    onProgress(came, facts.bytes);
  }
  if (came !== facts.bytes) throw new Error("The model's weights are not whole. Load the page again.");
  return makeModel(facts, spec, weights.buffer);
}

async function ask(name) {
  const response = await fetch(new URL(`../model/${name}`, import.meta.url)).catch(() => null);
  if (!response?.ok) throw new Error(`The model's file ${name} cannot be loaded. Load the page again.`);
  return response;
}
