// Runs the page's modules in Node for test_static_page.py: jobs in JSON come in, one answer for each goes out.

import { readFileSync } from "node:fs";

const web = new URL("../../src/inkhorn/web/static/engine/", import.meta.url);
const load = (name) => import(new URL(name, web));
const [{ makeModel }, { Cache }, { plain }, { simd }] = await Promise.all(["model.js", "gpt.js", "kernels_scalar.js", "kernels_wasm.js"].map(load));
const [{ exp }, { sample, uniform, logProbabilities }] = await Promise.all(["exp.js", "sampling.js"].map(load));
const [{ explain }, { write }, { windowStart }] = await Promise.all(["explain.js", "generate.js", "stopping.js"].map(load));

function open(folder, memory = "simd") {
  const read = (name) => readFileSync(`${folder}/model/${name}`);
  const weights = Uint8Array.from(read("weights.safetensors")).buffer;
  return makeModel(JSON.parse(read("model.json")), JSON.parse(read("tokenizer.json")), weights, { plain, simd }[memory]);
}

/** The logits after each token, through one cache, or each time with a new one. */
function logits({ folder, memory, ids, cached = true }) {
  const { gpt } = open(folder, memory);
  let cache = new Cache(gpt);
  return ids.map((id, place) => {
    if (cached) return [...gpt.forward(id, cache)];
    cache = new Cache(gpt);
    for (const before of ids.slice(0, place)) gpt.forward(before, cache, null, true);
    return [...gpt.forward(id, cache)];
  });
}

async function writeText({ folder, memory, request, abortAfter = Infinity }) {
  const tokens = [];
  let text = "";
  let turns = 0;
  const onPiece = (piece) => {
    tokens.push(...piece.tokens);
    text += piece.text;
  };
  const turn = async () => { turns += 1; };
  let ticks = 0;
  const now = () => (ticks += 1); // a millisecond each time it is asked, so that the test does not depend on the machine
  const calls = { onPiece, turn, aborted: () => turns >= abortAfter, now };
  const reason = await write(open(folder, memory), request, calls);
  return { text, tokens, reason, turns };
}

const jobs = {
  logits,
  write: writeText,
  exp: ({ values }) => values.map(exp),
  uniform: ({ places }) => places.map(([seed, choice, position]) => uniform(BigInt(seed), choice, position)),
  sample: ({ cases }) => cases.map(([values, how, u]) => sample(Float64Array.from(values), how, u)),
  odds: ({ values, count }) => {
    const { of, likeliest } = logProbabilities(Float64Array.from(values), count);
    return likeliest.map((id) => [id, of(id)]);
  },
  explain: ({ folder, memory, text, layer }) => explain(open(folder, memory), { text, layer }),
  encode: ({ folder, texts }) => {
    const { tokenizer } = open(folder);
    return texts.map((text) => [tokenizer.encode(text), tokenizer.fitted(text)]);
  },
  windows: ({ lengths, block }) => lengths.map((length) => windowStart(length, block)),
};

const answers = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    answers.push({ result: await jobs[job.do](job) });
  } catch (error) {
    answers.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(answers, (_, value) => (value === Infinity ? "Infinity" : value)));
