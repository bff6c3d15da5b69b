// @ts-check
// The client of the server: OpenAI's completions API as a stream, and the explain API of the inspector.

/** @import { Client, CompletionRequest, CompletionResult, ExplainRequest, FinishReason, ImportanceRequest, ModelInfo, OnChunk, OnPrompt, SnapshotRequest } from "./client.js" */

import { ChunkReader } from "./chunk_reader.js";

const KEY = "inkhorn-key";

/** An error whose message is shown to the user; needsKey says that the server requires an API key. */
class ServerError extends Error {
  /** @param {string} message */
  constructor(message, needsKey = false) {
    super(message);
    this.needsKey = needsKey;
  }
}

const UNREACHABLE = "The server is not responding. Start it with inkhorn serve, then try again.";
const DISCONNECTED = "The connection was lost before the text was finished. The text so far is kept; Continue resumes from it.";

/**
 * @param {string} path
 * @param {object} [body]
 * @param {AbortSignal} [signal]
 */
async function request(path, body, signal) {
  /** @type {Record<string, string>} */
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(UNREACHABLE);
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

/** @param {Response} response */
async function errorOf(response) {
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    // not an answer of this server: perhaps a proxy's
  }
  const wait = Number(response.headers.get("Retry-After"));
  if (response.status === 401) return new ServerError("This server requires an API key. Enter it and try again.", true);
  if (response.status === 429) {
    const when = wait > 0 ? `in ${wait} second${wait === 1 ? "" : "s"}` : "in a moment";
    return new ServerError(`The server is busy. Try again ${when}.`);
  }
  if (response.status >= 500) return new ServerError(`Server error${message ? `: ${message}` : ""}. Try again in a moment.`);
  return new ServerError(message ? `The server rejected the request: ${message}` : `The server rejected the request (status ${response.status}).`);
}

/**
 * The data of each server-sent event.
 * @param {Response} response
 */
async function* events(response) {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("data: ")) yield line.slice(6).trimEnd();
    }
  }
}

/**
 * @param {CompletionRequest} body
 * @param {{ onChunk: OnChunk, onPrompt?: OnPrompt, signal?: AbortSignal }} options
 * @returns {Promise<CompletionResult>}
 */
async function complete(body, { onChunk, onPrompt = () => {}, signal }) {
  const reader = new ChunkReader();
  let fingerprint = "";
  /** @type {FinishReason | null} */
  let reason = null;
  try {
    // JSON writes a max_tokens of Infinity as null: as many as the server allows.
    const response = await request("v1/completions", { ...body, stream: true, stream_options: { include_usage: true } }, signal);
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(`The server stopped: ${chunk.error.message}`);
      fingerprint = chunk.system_fingerprint ?? fingerprint;
      if (chunk.prompt_changes?.length) onPrompt(chunk.prompt_changes[0]);
      for (const choice of chunk.choices) {
        if (choice.text || choice.logprobs) onChunk(reader.read(choice));
        reason = choice.finish_reason ?? reason;
      }
    }
  } catch (error) {
    if (signal?.aborted) return { finish_reason: "abort", fingerprint };
    throw error instanceof ServerError ? error : new ServerError(DISCONNECTED);
  }
  if (reason === null) throw new ServerError(DISCONNECTED);
  return { finish_reason: reason, fingerprint };
}

/** @returns {Promise<ModelInfo[]>} */
async function models() {
  const { data } = await (await request("v1/models")).json();
  const usable = data.filter((/** @type {any} */ { meta }) => meta); // those whose files cannot be read have none
  return usable.map((/** @type {any} */ { id, fingerprint, max_model_len: block_size, meta }) => ({
    id,
    fingerprint: fingerprint ?? "", // known once the model is loaded
    block_size,
    model_type: meta.model_type,
    n_layer: meta.n_layer,
    n_head: meta.n_head,
    n_embd: meta.n_embd,
    vocab_size: meta.n_vocab,
    parameters: meta.n_params,
    backend: meta.backend ?? "loaded with the first text",
  }));
}

const settings = async () => (await request("api/settings")).json();

const atlas = async (/** @type {string} */ model) => (await request(`api/atlas?${new URLSearchParams({ model })}`)).json();

const explain = async (/** @type {ExplainRequest} */ body) => (await request("api/explain", body)).json();

const snapshot = async (/** @type {SnapshotRequest} */ body) => (await request("api/snapshot", body)).json();

const importance = async (/** @type {ImportanceRequest} */ body) => (await request("api/importance", body)).json();

/**
 * Keep the API key until the tab is closed, in this browser only.
 * @param {string} key
 */
export const setKey = (key) => sessionStorage.setItem(KEY, key);

/** @returns {Client} */
export const makeClient = () => ({ models, settings, atlas, complete, explain, snapshot, importance });
