// The worker of the page without a server: it holds the model. Texts that are written at the same time take turns.
//
// It is sent {id, ask: "models" | "complete" | "explain" | "abort", request}, and sends {id, piece}, in the end {id, result}
// or {id, error}, and while the weights are loaded {progress: [bytes so far, all]}.

import { explain } from "./explain.js";
import { loadFacts, loadModel } from "./model.js";
import { write } from "./generate.js";

const waiting = [];
const turns = new MessageChannel();
turns.port1.onmessage = () => waiting.shift()();

/** Let the others have their turn, and messages come in. A timer would wait for 4 ms each time. */
const turn = () => new Promise((resolve) => {
  waiting.push(resolve);
  turns.port2.postMessage(null);
});

/** A promise that is made again when it is asked for after it failed. */
function once(make) {
  let made = null;
  return () => (made ??= make().catch((error) => {
    made = null;
    throw error;
  }));
}

const facts = once(loadFacts);
const model = once(async () => loadModel(await facts(), (...progress) => postMessage({ progress })));
model().catch(() => {}); // begun at once; whoever asks is told

const aborted = new Set();

const answers = {
  async models() {
    const { id, fingerprint, parameters, config } = await facts();
    const { n_layer, n_head, n_embd, block_size, vocab_size } = config;
    return [{ id, fingerprint, n_layer, n_head, n_embd, block_size, vocab_size, parameters, backend: "browser" }];
  },
  async complete(request, id) {
    const onPiece = (piece) => postMessage({ id, piece });
    const finish_reason = await write(await model(), request, { onPiece, turn, aborted: () => aborted.has(id) });
    return { finish_reason, fingerprint: (await facts()).fingerprint };
  },
  async explain(request) {
    return explain(await model(), request, turn);
  },
};

onmessage = async ({ data: { id, ask, request } }) => {
  if (ask === "abort") return void aborted.add(id);
  try {
    postMessage({ id, result: await answers[ask](request, id) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
  aborted.delete(id);
};
