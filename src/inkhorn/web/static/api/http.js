// The client of the server: OpenAI's completions as a stream, and the explanations of the inside view.

const KEY = "inkhorn-key";

/** An error to be shown: the message is for people, needsKey says that the server asked for a key. */
class ServerError extends Error {
  constructor(message, needsKey = false) {
    super(message);
    this.needsKey = needsKey;
  }
}

const GONE = "The server does not answer. Start it again (inkhorn serve), then try again.";
const BROKEN = "The connection broke off before the text was finished. What stands here is kept; Continue goes on from it.";

async function ask(path, body, signal) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(GONE);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let told = "";
  try {
    told = (await response.json()).error.message;
  } catch {
    // not of our server: a proxy, perhaps
  }
  const wait = Number(response.headers.get("Retry-After"));
  if (response.status === 401) return new ServerError("This server wants a key. Give it under the settings and try again.", true);
  if (response.status === 429) {
    const when = wait > 0 ? `in ${wait} second${wait === 1 ? "" : "s"}` : "in a moment";
    return new ServerError(`The server is busy: others are waiting to write. Try again ${when}.`);
  }
  if (response.status >= 500) return new ServerError(`The server could not do it${told ? `: ${told}` : ""}. Try again in a moment.`);
  return new ServerError(told ? `The server refused this: ${told}` : `The server refused this (status ${response.status}).`);
}

/** The data of each server-sent event, as it comes. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) yield line.slice(6).trimEnd();
    }
  }
}

/** Text and tokens of a chunk. The token that showed that the last word was complete is not of the text, and left out. */
function piece({ text, logprobs: told }) {
  let length = 0;
  const all = (told?.tokens ?? []).map((token, i) => ({
    text: token,
    logprob: told.token_logprobs[i],
    top: Object.entries(told.top_logprobs[i]).sort((a, b) => b[1] - a[1]),
  }));
  return { text, tokens: all.filter((token) => (length += token.text.length) <= text.length) };
}

async function complete(request, { onPiece, signal }) {
  let fingerprint = "";
  let reason = null;
  try {
    // max_tokens may be Infinity, which JSON writes as null: as many as the server allows.
    const body = { ...request, stream: true, stream_options: { include_usage: true } };
    const response = await ask("v1/completions", body, signal);
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(`The server stopped: ${chunk.error.message}`);
      fingerprint = chunk.system_fingerprint ?? fingerprint;
      for (const choice of chunk.choices) {
        if (choice.text || choice.logprobs) onPiece(piece(choice));
        reason = choice.finish_reason ?? reason;
      }
    }
  } catch (error) {
    if (signal?.aborted) return { finish_reason: "abort", fingerprint };
    throw error instanceof ServerError ? error : new ServerError(BROKEN);
  }
  if (reason === null) throw new ServerError(BROKEN);
  return { finish_reason: reason, fingerprint };
}

async function models() {
  const { data } = await (await ask("v1/models")).json();
  return data.map(({ id, fingerprint, max_model_len: block_size, meta }) => ({
    id,
    fingerprint,
    block_size,
    n_layer: meta.n_layer,
    n_head: meta.n_head,
    n_embd: meta.n_embd,
    vocab_size: meta.n_vocab,
    parameters: meta.n_params,
    backend: meta.backend,
  }));
}

const explain = async (question) => (await ask("api/explain", question)).json();

/** The key is kept until the tab is closed, and nowhere else. */
export const useKey = (key) => sessionStorage.setItem(KEY, key);

export const makeClient = () => ({ models, complete, explain });
