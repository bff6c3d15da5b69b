// @ts-check
// The steps about the rest of a block and about the whole model.

/** @import { Step } from "./steps.js" */

import { button, formatCount, make, percent, visible } from "../views/dom.js";
import { residualChart } from "../views/residual.js";
import { choices, dropdown, LEGEND, largest, namedStrip, num, numbers, shareBar, slider, strip, table } from "./figures.js";

const SHOWN = 6; // tokens to choose from, the last ones of the text
const ACTIVE = 0.1;

/** @type {Step} */
export const mlp = {
  name: "mlp",
  title: "The MLP: one token at a time",
  parts: ["mlp"],
  text: ({ model }) => [
    "Attention has moved information between tokens. Next, a small network works on each token alone. It is called the *MLP* (multi-layer perceptron).",
    `It widens the token’s vector of ${model.n_embd} numbers to a longer one. The numbers of the longer vector are called *neurons*.`,
    `Then it sets negative numbers to almost zero, so that a neuron is either active or quiet. Last, it turns them back into a vector of ${model.n_embd} numbers.`,
  ],
  async figure(context) {
    const count = context.texts.length;
    const first = Math.max(0, count - SHOWN);
    const { values, setter } = context.settings("mlp", { layer: context.model.n_layer >> 1, token: count - 1 });
    const body = make("div");
    const explain = (/** @type {number} */ token) => context.explain(values.layer, null, token + 1);
    const show = async () => {
      const { layer, token } = values;
      const explanation = await explain(token);
      if (layer !== values.layer || token !== values.token) return;
      const hidden = explanation.last("mlp");
      const scale = largest(hidden);
      const order = [...hidden.keys()].sort((a, b) => hidden[b] - hidden[a]).slice(0, 5);
      const active = hidden.filter((value) => value > ACTIVE * scale).length;
      const name = visible(context.texts[token] || explanation.tokens[explanation.size - 1]);
      body.replaceChildren(
        make("figure", make("figcaption", `The ${formatCount(hidden.length)} neurons of layer ${layer + 1} for `, make("b", name)), strip(`neurons of layer ${layer + 1} for ${name}`, hidden, scale, hidden.length > 512 ? 64 : 32)),
        make("p", { role: "status" }, `${active} of ${formatCount(hidden.length)} neurons are active (above a tenth of the strongest). The strongest: `,
          order.map((i) => `neuron ${i + 1} with ${num(hidden[i])}`).join(", "), "."));
    };
    await show();
    const set = setter(show);
    return [dropdown("Layer", numbers(context.model.n_layer), values.layer, (layer) => set({ layer })),
      choices("Token:", context.texts.slice(first).map(visible), Math.max(0, values.token - first), (i) => set({ token: first + i })), body];
  },
  question: "What can attention do that the MLP cannot?",
  answer: () => "Look at other tokens. The MLP works on each token alone, with what attention has fetched before.",
  code: ["x = self.act(self.c_fc(x))", "return self.dropout(self.c_proj(x))"],
  links: ["3b1b-mlp"],
};

/** @type {Step} */
export const residual = {
  name: "residual",
  title: "The residual stream",
  parts: ["add"],
  text: ({ isGpt1 }) => [
    "Attention and MLP do not replace the vector of a token. They add to it. The vector that grows in this way is called the *residual stream*.",
    "It starts as the embedding. One attention and one MLP together are a *block* (also called a layer). Each block reads the stream and adds its result.",
    ...(isGpt1 ? ["GPT-1 also brings the stream back to a standard size after each addition. The next step shows how."] : []),
    "We can stop after any block and ask which token the model would predict from the stream so far. This is called the logit lens.",
  ],
  async figure(context) {
    const explanation = await context.explain(0);
    const { layers, size, tokens } = explanation;
    const { values, save } = context.settings("residual", { depth: layers });
    const result = make("p", { role: "status" });
    const chart = residualChart(explanation);
    const show = () => {
      const { token, probability } = explanation.lens(values.depth, size - 1);
      result.replaceChildren("Its best guess for the next token is then ", make("b", visible(token)), `, with probability ${percent(probability)}.`);
      chart.querySelectorAll("circle").forEach((dot, depth) => { dot.setAttribute("r", depth === values.depth ? "6" : "3"); });
    };
    show();
    return [
      make("p", "The stream of the last token, ", make("b", visible(tokens[size - 1])), ". Height: the size of its numbers (root mean square)."),
      chart,
      slider("Stop after", { min: 0, max: layers, step: 1, value: values.depth }, (depth) => (depth === 0 ? "the embedding" : `block ${depth} of ${layers}`), (depth) => {
        values.depth = depth;
        save();
        show();
      }), result, make("p.small", "Right after the embedding, the stream knows only its own token, so its guess is often that token again.")];
  },
  question: "Why is it good that blocks add to the vector, and do not replace it?",
  answer: () => "What an earlier block found stays there for all later ones. A block with nothing to say can add almost nothing.",
  code: ({ isGpt1 }) => (isGpt1 ? ["x = self.ln_1(x + self.attn(x))", "x = self.ln_2(x + self.mlp(x))"] : ["x = x + self.attn(self.ln_1(x))", "x = x + self.mlp(self.ln_2(x))"]),
  links: ["olah-framework", "karpathy-gpt"],
};

const EPSILON = 1e-5;
const SCALE = 4; // all strips have the full colour from here

/** @param {number[]} values */
function moments(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return { mean, variance };
}

/** @type {Step} */
export const layerNorm = {
  name: "layer-norm",
  title: "Layer norm: a standard size",
  parts: ["norm"],
  text: ({ isGpt1 }) => [
    "As the blocks add to the stream, its numbers can become large or small. *Layer norm* brings a vector to a standard size.",
    "It subtracts the mean of the numbers. Then it divides by their standard deviation, which says how far they spread. Now the mean is 0 and the spread is 1.",
    "Last, each number is multiplied by a learned factor and shifted by a learned amount.",
    isGpt1 ? "GPT-1 does this after each addition to the stream." : "GPT-2 does this each time before attention or MLP read the stream. The stream itself stays as it is.",
  ],
  async figure(context) {
    const { values, setter } = context.settings("layer-norm", { layer: context.model.n_layer - 1, power: 0 });
    const body = make("div.vectors");
    const show = async () => {
      const { layer, power } = values;
      const { vectors, tokens } = await context.vectors(layer, 0);
      if (layer !== values.layer || power !== values.power) return;
      const factor = 10 ** power;
      const input = vectors.norm_in.map((value) => value * factor);
      const before = moments(input);
      const normal = input.map((value) => (value - before.mean) / Math.sqrt(before.variance + EPSILON));
      const rows = /** @type {[string, number[]][]} */ ([["before", input], ["standard size", normal], ...(power === 0 ? [["after factor and shift", vectors.norm_out]] : [])]);
      body.replaceChildren(
        namedStrip(`the vector of ${visible(tokens[tokens.length - 1])}${power === 0 ? "" : `, times ${num(factor, factor < 1 ? 2 : 1)}`}`, input, SCALE),
        namedStrip("minus the mean, divided by the standard deviation", normal, SCALE),
        ...(power === 0 ? [namedStrip("times the learned factors, plus the learned shifts: the model's result", vectors.norm_out, SCALE)] : []),
        table("Mean and standard deviation", ["", "mean", "standard deviation"], rows.map(([name, vector]) => {
          const { mean, variance } = moments(vector);
          return [name, num(mean), num(Math.sqrt(variance))];
        })));
    };
    await show();
    const set = setter(show);
    return [dropdown("Layer", numbers(context.model.n_layer), values.layer, (layer) => set({ layer })),
      slider("Multiply the vector by", { min: -1, max: 1, step: 0.1, value: values.power }, (power) => num(10 ** power, power < 0 ? 2 : 1), (power) => set({ power })),
      body, make("p.small", `${LEGEND} All strips have the same scale: full colour from ${SCALE} on.`)];
  },
  question: "The vector becomes ten times as large. What changes after layer norm?",
  answer: () => "Almost nothing. The standard deviation is ten times as large too, so dividing by it removes the factor. Try it with the slider.",
  code: ({ isGpt1 }) => ["self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)", isGpt1 ? "x = self.ln_1(x + self.attn(x))" : "x = x + self.attn(self.ln_1(x))"],
  links: ["karpathy-gpt"],
};

const MAX_ADDED = 40; // tokens

/** @type {Step} */
export const block = {
  name: "block",
  title: "The whole model",
  parts: ["tokens", "embedding", "block", "attention", "mlp", "add", "norm", "unembedding", "sampling"],
  text: ({ model }) => [
    "You have seen all parts. A block is attention, which fetches from other tokens, and an MLP, which works on each token alone. Both add to the stream.",
    `The model is ${model.n_layer} blocks, one after the other, with the embedding before them and the unembedding after them. It has ${formatCount(model.parameters)} numbers that training chose, its *parameters*.`,
    "To write a text, it predicts a token, appends it, and runs again. That is all.",
  ],
  async figure(context) {
    const { values, save } = context.settings("block", { added: /** @type {string[]} */ ([]) });
    const { model, client } = context;
    const body = make("div");
    const result = make("p.written", { role: "status" });
    const show = async () => {
      const text = context.text + values.added.join("");
      const explanation = await context.explainer.explain({ model: model.id, text, layer: 0, add_special_tokens: context.isWhole });
      const last = explanation.size - 1;
      result.replaceChildren(`…${context.text.slice(-40)}`, make("b", values.added.join("")));
      body.replaceChildren(
        table("The best guess after each block", ["after", "best guess for the next token", "its probability"], Array.from({ length: explanation.layers + 1 }, (_, depth) => {
          const { token, probability } = explanation.lens(depth, last);
          return [depth === 0 ? "embedding" : `block ${depth}`, make("b", visible(token)), shareBar(probability, percent(probability))];
        })));
    };
    const write = button("Write the next token", async () => {
      write.setAttribute("aria-disabled", "true");
      let added = "";
      await client.complete({ model: model.id, prompt: context.text + values.added.join(""), max_tokens: 1, temperature: 0.8, seed: null }, { onChunk: ({ text }) => { added += text; } })
        .catch((error) => { result.textContent = error.message; });
      write.removeAttribute("aria-disabled");
      if (added === "" || values.added.length >= MAX_ADDED) return;
      values.added.push(added);
      save();
      await show();
    }, { className: "main" });
    const reset = button("Back to the start", () => {
      values.added = [];
      save();
      show();
    });
    await show();
    return [result, make("p.actions", write, reset), body];
  },
  question: "A head in block 2 can find things that no head in block 1 can. Why?",
  answer: () => "Its queries and keys come from the stream after block 1, to which the first heads have already added. An induction head needs this. An earlier head tells each token which token came before it; the later head then looks for a token that came after the same one.",
  code: ["x = block(x)", "idx = torch.cat([idx, following], dim=1)"],
  links: ["olah-framework", "karpathy-gpt"],
};
