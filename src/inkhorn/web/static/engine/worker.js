// @ts-check
// The worker of the static page. It holds the model; texts generated at the same time take turns.
//
// It receives {id, method: "models" | "settings" | "atlas" | "complete" | "explain" | "importance" |
// "snapshot" | "abort", request} and sends {id, prompt} if
// characters of the prompt were replaced, {id, chunk} or {id, steps: {done, total}}, then {id, result} or {id, error}; while the weights are loaded,
// {progress: {loaded, total}} in bytes.

/** @import { Chunk, CompletionRequest, CompletionResult, ExplainRequest, ImportanceRequest, ModelInfo, SnapshotRequest } from "../api/client.js" */

import { explain } from "./explain.js";
import { generate } from "./generate.js";
import { importance } from "./importance.js";
import { fetchFile, loadMetadata, loadModel } from "./model.js";

/** @type {(() => void)[]} */
const waiting = [];
const channel = new MessageChannel();
channel.port1.onmessage = () => waiting.shift()?.();

/**
 * Let other texts run and messages arrive. A timer would wait for 4 ms each time.
 * @type {() => Promise<void>}
 */
const yieldToEvents = () => new Promise((resolve) => {
  waiting.push(resolve);
  channel.port2.postMessage(null);
});

/**
 * A cached promise; if it fails, the next call tries again.
 * @template T
 * @param {() => Promise<T>} make
 * @returns {() => Promise<T>}
 */
function once(make) {
  /** @type {Promise<T> | null} */
  let made = null;
  return () => {
    made ??= make().catch((error) => {
      made = null;
      throw error;
    });
    return made;
  };
}

const metadata = once(loadMetadata);
const model = once(() => loadModel(metadata(), (loaded, total) => postMessage({ progress: { loaded, total } })));
model().catch(() => {}); // start loading now; whoever needs the model gets the error

const aborted = new Set();

/** @type {Map<number, Promise<import("./model.js").Model>>} */
const snapshots = new Map(); // the last two that were used

/**
 * A model of the training run.
 * @param {number} step
 */
function snapshotModel(step) {
  const found = snapshots.get(step) ?? loadModel(metadata(), () => {}, step);
  snapshots.delete(step);
  snapshots.set(step, found);
  found.catch(() => snapshots.delete(step)); // the next call tries again
  for (const old of [...snapshots.keys()].slice(0, -2)) snapshots.delete(old);
  return found;
}

/** @type {Record<string, (request: any, id: number) => Promise<any>>} */
const methods = {
  /** @returns {Promise<ModelInfo[]>} */
  async models() {
    const { id, fingerprint, parameters, config } = await metadata();
    const { model_type, n_layer, n_head, n_embd, block_size, vocab_size } = config;
    return [{ id, fingerprint, model_type, n_layer, n_head, n_embd, block_size, vocab_size, parameters, backend: "browser" }];
  },
  async settings() {
    return (await metadata()).settings;
  },
  async atlas() {
    return (await fetchFile("../model/atlas.json")).json();
  },
  /**
   * @param {CompletionRequest} request
   * @param {number} id
   * @returns {Promise<CompletionResult>}
   */
  async complete(request, id) {
    const prompt = (await model()).tokenizer.promptChange(request.prompt);
    if (prompt) postMessage({ id, prompt });
    const onChunk = (/** @type {Chunk} */ chunk) => postMessage({ id, chunk });
    const finish_reason = await generate(await model(), request, { onChunk, yieldToEvents, isAborted: () => aborted.has(id) });
    return { finish_reason, fingerprint: (await metadata()).fingerprint };
  },
  /** @param {ExplainRequest} request */
  async explain(request) {
    return explain(await model(), request, yieldToEvents);
  },
  /** @param {SnapshotRequest} request */
  async snapshot({ step, text: prompt, seed, max_tokens, layer }) {
    const one = await snapshotModel(step);
    let text = "";
    const { temperature } = one.metadata.settings.sampling;
    const onChunk = (/** @type {Chunk} */ chunk) => {
      text += chunk.text;
    };
    const request = { model: "", prompt, seed, max_tokens, temperature: temperature.default };
    await generate(one, request, { onChunk, yieldToEvents, isAborted: () => false });
    return { text, explain: await explain(one, { text: prompt, layer }, yieldToEvents) };
  },
  /**
   * @param {ImportanceRequest} request
   * @param {number} id
   */
  async importance(request, id) {
    return importance(await model(), request, yieldToEvents, (done, total) => postMessage({ id, steps: { done, total } }));
  },
};

addEventListener("message", async ({ data: { id, method, request } }) => {
  if (method === "abort") {
    aborted.add(id);
    return;
  }
  try {
    postMessage({ id, result: await methods[method](request, id) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
  aborted.delete(id);
});
