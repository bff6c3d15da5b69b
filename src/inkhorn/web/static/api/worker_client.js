// The client of the page without a server: the same three questions as http.js, answered by worker.js in this browser.

const STOPPED = "The model stopped working in this browser. Load the page again; a newer browser may help.";

/** onProgress(bytes so far, all) is called while the model's weights are loaded; a window's event tells it too. */
export function makeLocalClient({ onProgress = tell } = {}) {
  const worker = new Worker(new URL("../engine/worker.js", import.meta.url), { type: "module" });
  const open = new Map(); // questions without an answer, by id
  let count = 0;
  let broken = false;

  worker.onmessage = ({ data: { id, piece, result, error, progress } }) => {
    if (progress) return onProgress(...progress);
    const question = open.get(id);
    if (piece) return question?.onPiece(piece);
    open.delete(id);
    if (error === undefined) question?.resolve(result);
    else question?.reject(new Error(error));
  };
  worker.onerror = () => {
    broken = true;
    for (const { reject } of open.values()) reject(new Error(STOPPED));
    open.clear();
  };

  const ask = (name, request, { onPiece = () => {}, signal } = {}) => new Promise((resolve, reject) => {
    if (broken) throw new Error(STOPPED);
    const id = count++;
    open.set(id, { resolve, reject, onPiece });
    worker.postMessage({ id, ask: name, request });
    const abort = () => worker.postMessage({ id, ask: "abort" });
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
  });

  return {
    models: () => ask("models"),
    complete: (request, options) => ask("complete", request, options),
    explain: (question) => ask("explain", question),
  };
}

const tell = (came, all) => dispatchEvent(new CustomEvent("inkhorn-progress", { detail: { came, all } }));

export const makeClient = makeLocalClient;
