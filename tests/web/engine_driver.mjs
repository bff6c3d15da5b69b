// Runs the page's engine in Node for test_engine_js.py: reads jobs as JSON, writes one result for each.

import { readFileSync } from "node:fs";

const engine = new URL("../../src/inkhorn/web/static/engine/", import.meta.url);
const load = (name) => import(new URL(`${name}.js`, engine));
const [{ makeModel }, { Cache }] = await Promise.all(["model", "cache"].map(load));
const [{ scalarKernels }, { wasmKernels }] = await Promise.all(["kernels_scalar", "kernels_wasm"].map(load));
const [{ exp }, { sample, uniform, logProbabilities }] = await Promise.all(["exp", "sampling"].map(load));
const [{ explain }, { generate }, { windowStart }] = await Promise.all(["explain", "generate", "stopping"].map(load));

const KERNELS = { scalar: scalarKernels, wasm: wasmKernels };

function loadModel(folder, kernels = "wasm") {
  const read = (name) => readFileSync(`${folder}/model/${name}`);
  const weights = Uint8Array.from(read("weights.safetensors")).buffer;
  return makeModel(JSON.parse(read("model.json")), JSON.parse(read("tokenizer.json")), weights, KERNELS[kernels]);
}

/** The logits after each token, with one cache for all or a new one for each. */
function logits({ folder, kernels, ids, cached = true }) {
  const { gpt } = loadModel(folder, kernels);
  let cache = new Cache(gpt);
  return ids.map((id, position) => {
    if (cached) return [...gpt.forward(id, cache)];
    cache = new Cache(gpt);
    for (const before of ids.slice(0, position)) gpt.forward(before, cache, null, false);
    return [...gpt.forward(id, cache)];
  });
}

async function generateText({ folder, kernels, request, abortAfter = Infinity }) {
  const tokens = [];
  let text = "";
  let yields = 0;
  let milliseconds = 0;
  const reason = await generate(loadModel(folder, kernels), request, {
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
  exp: ({ values }) => values.map(exp),
  uniform: ({ positions }) => positions.map(([seed, index, position]) => uniform(BigInt(seed), index, position)),
  sample: ({ cases }) => cases.map(([values, params, u]) => sample(Float64Array.from(values), params, u)),
  logprobs: ({ values, count }) => {
    const { logprob, topIds } = logProbabilities(Float64Array.from(values), count);
    return topIds.map((id) => [id, logprob(id)]);
  },
  explain: ({ folder, kernels, text, layer }) => explain(loadModel(folder, kernels), { text, layer }),
  encode: ({ folder, texts }) => {
    const { tokenizer } = loadModel(folder);
    return texts.map((text) => [tokenizer.encode(text), tokenizer.normalize(text)]);
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
