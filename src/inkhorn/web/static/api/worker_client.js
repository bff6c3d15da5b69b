// @ts-check
// The client of the static page: the same interface as http.js, answered by engine/worker.js in this browser.

/** @import { Client, OnChunk, OnPrompt } from "./client.js" */

/** @typedef {(done: number, total: number) => void} OnProgress */

const CRASHED = "The model stopped working in this browser. Reload the page; a newer browser may help.";

/**
 * @param {object} [options]
 * @param {(loaded: number, total: number) => void} [options.onProgress] called with bytes as the weights arrive; by
 *   default the window gets an event "inkhorn-progress"
 * @returns {Client}
 */
export function makeClient({ onProgress = dispatchProgress } = {}) {
  const worker = new Worker(new URL("../engine/worker.js", import.meta.url), { type: "module" });
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void, onChunk: OnChunk, onPrompt: OnPrompt, onSteps: OnProgress }>} */
  const pending = new Map();
  let count = 0;
  let crashed = false;

  worker.onmessage = ({ data: { id, prompt, chunk, steps, result, error, progress } }) => {
    if (progress) return onProgress(progress.loaded, progress.total);
    const call = pending.get(id);
    if (steps) return call?.onSteps(steps.done, steps.total);
    if (prompt) return call?.onPrompt(prompt);
    if (chunk) return call?.onChunk(chunk);
    pending.delete(id);
    if (error === undefined) call?.resolve(result);
    else call?.reject(new Error(error));
  };
  worker.onerror = () => {
    crashed = true;
    for (const { reject } of pending.values()) reject(new Error(CRASHED));
    pending.clear();
  };

  /**
   * @param {"models" | "settings" | "atlas" | "complete" | "explain" | "importance" | "snapshot"} method
   * @param {object} [request]
   * @param {{ onChunk?: OnChunk, onPrompt?: OnPrompt, onProgress?: OnProgress, signal?: AbortSignal }} [options]
   * @returns {Promise<any>}
   */
  const call = (method, request, { onChunk = () => {}, onPrompt = () => {}, onProgress: onSteps = () => {}, signal } = {}) => new Promise((resolve, reject) => {
    if (crashed) throw new Error(CRASHED);
    const id = count++;
    pending.set(id, { resolve, reject, onChunk, onPrompt, onSteps });
    worker.postMessage({ id, method, request });
    const abort = () => worker.postMessage({ id, method: "abort" });
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
  });

  return {
    models: () => call("models"),
    settings: () => call("settings"),
    atlas: () => call("atlas"),
    complete: (request, options) => call("complete", request, options),
    explain: (request) => call("explain", request),
    snapshot: (request) => call("snapshot", request),
    importance: (request, options) => call("importance", request, options),
  };
}

/**
 * @param {number} loaded
 * @param {number} total
 */
function dispatchProgress(loaded, total) {
  dispatchEvent(new CustomEvent("inkhorn-progress", { detail: { loaded, total } }));
}
