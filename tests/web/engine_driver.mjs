// Runs the page's engine in Node for test_engine_js.py: reads jobs as JSON, writes one result for each.

import { readFileSync } from "node:fs";

const engine = new URL("../../src/inkhorn/web/static/engine/", import.meta.url);
const load = (name) => import(new URL(`${name}.js`, engine));
const [{ makeModel }, { Kernel, Session }] = await Promise.all(["model", "kernel"].map(load));
const [{ explain }, { generate }, { windowStart }] = await Promise.all(["explain", "generate", "stopping"].map(load));
const MODULE = readFileSync(new URL("kernel.wasm", engine));

const { ChunkReader } = await import(new URL("../api/chunk_reader.js", engine));

async function loadModel(folder) {
  const read = (name) => readFileSync(`${folder}/model/${name}`);
  const kernel = await Kernel.compile(MODULE);
  const weights = read("weights.bin");
  kernel.allocate(weights.length).set(weights);
  return makeModel(JSON.parse(read("model.json")), JSON.parse(read("tokenizer.json")), kernel, async () => {
    const file = read("activations.safetensors");
    return file.buffer.slice(file.byteOffset, file.byteOffset + file.length);
  });
}

/** The logits after each token, in calls of one token or, for the last, of all of them. */
async function logits({ folder, ids, together = false }) {
  const { kernel } = await loadModel(folder);
  const session = new Session(kernel);
  const calls = together ? [ids] : ids.map((id) => [id]);
  return calls.map((call) => {
    session.run(call, true);
    return [...session.logits];
  });
}

/** What the session samples from the given logits, or their log-probabilities. */
async function withLogits({ folder, cases }, run) {
  const { kernel } = await loadModel(folder);
  const session = new Session(kernel);
  return cases.map(([values, ...rest]) => {
    session.logits.set(values);
    return run(session, ...rest);
  });
}

async function generateText({ folder, request, abortAfter = Infinity, model = undefined }) {
  const tokens = [];
  let text = "";
  let yields = 0;
  let milliseconds = 0;
  const reason = await generate(model ?? (await loadModel(folder)), request, {
    onChunk: (chunk) => {
      tokens.push(...chunk.tokens);
      text += chunk.text;
    },
    yieldToEvents: async () => {
      yields += 1;
    },
    isAborted: () => yields >= abortAfter,
    now: () => {
      milliseconds += 1; // each time it is read, so that the chunks do not depend on the machine's speed
      return milliseconds;
    },
  });
  return { text, tokens, reason, yields };
}

const jobs = {
  logits,
  generate: generateText,
  generateAll: async ({ folder, requests }) => {
    const model = await loadModel(folder);
    const texts = [];
    for (const request of requests) texts.push((await generateText({ request, model })).text);
    return texts;
  },
  sample: (job) => withLogits(job, (session, params, seed, position) => session.sample(params, BigInt(seed), position)),
  logprobs: (job) => withLogits(job, (session, token, count) => session.logprobs(token, count)),
  explain: async ({ folder, ...request }) => explain(await loadModel(folder), request),
  importance: async ({ folder, request }) => {
    const steps = [];
    const { importance } = await load("importance");
    return { ...(await importance(await loadModel(folder), request, () => {}, (done, total) => steps.push([done, total]))), steps };
  },
  encode: async ({ folder, texts }) => {
    const { tokenizer } = await loadModel(folder);
    return texts.map((text) => [tokenizer.encode(text), tokenizer.normalize(text)]);
  },
  promptChanges: async ({ folder, texts }) => {
    const { tokenizer } = await loadModel(folder);
    return texts.map((text) => tokenizer.promptChange(text));
  },
  chunks: ({ choices }) => {
    const reader = new ChunkReader();
    return choices.map((choice) => reader.read(choice));
  },
  windows: ({ lengths, block }) => lengths.map((length) => windowStart(length, block)),
};

const results = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    results.push({ result: await jobs[job.do](job) });
  } catch (error) {
    results.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(results, (_, value) => (value === Infinity ? "Infinity" : value)));
