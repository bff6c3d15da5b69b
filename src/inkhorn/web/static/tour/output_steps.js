// @ts-check
// The steps from the last vector to the next token.

/** @import { Step } from "./steps.js" */

import { button, formatCount, make, percent, visible } from "../views/dom.js";
import { choices, draw, num, reshape, shareBar, slider, table } from "./figures.js";

const TOKENS = 6; // to choose from, the last ones of the text
const UNEMBEDDED = 8; // rows of the table

/** @type {Step} */
export const unembedding = {
  name: "unembedding",
  title: "From a vector to probabilities",
  parts: ["unembedding"],
  text: ({ isGpt1, model }) => [
    `After the last block${isGpt1 ? "" : " and one more layer norm"}, the vector of a token is compared with one vector for each of the ${formatCount(model.vocab_size)} tokens of the vocabulary. It is the same multiplying and adding as for a query and a key.`,
    "This gives one number for each token of the vocabulary, its *logit*. A larger logit means: this token is a better fit as the next one.",
    "Softmax, the rule that you know from attention, turns the logits into *probabilities*: all are positive, and together they are 100 %.",
  ],
  async figure(context) {
    const count = context.texts.length;
    const first = Math.max(0, count - TOKENS);
    const { values, save } = context.settings("unembedding", { token: count - 1 });
    const body = make("div");
    const show = async () => {
      const { token } = values;
      const { vectors, tokens } = await context.vectors(0, 0, token + 1);
      if (token !== values.token) return;
      const { logits, log_sum } = vectors;
      const largest = logits[0][1];
      const rest = Math.max(0, 1 - logits.slice(0, UNEMBEDDED).reduce((sum, [, logit]) => sum + Math.exp(logit - log_sum), 0));
      const name = visible(tokens[tokens.length - 1]);
      body.replaceChildren(
        table(`Logits and probabilities after ${name}`, ["next token", "logit", "e to the logit*", "probability"], [
          ...logits.slice(0, UNEMBEDDED).map(([next, logit]) => [make("b", visible(next)), num(logit), num(Math.exp(logit - largest)), shareBar(Math.exp(logit - log_sum))]),
          ["all others", "", num(Math.exp(log_sum - largest) * rest), shareBar(rest)],
          ["sum", "", num(Math.exp(log_sum - largest)), percent(1)],
        ]),
        make("p.small", "* divided by that of the largest logit, so that the numbers stay small. The probabilities are the same. They are the third column divided by its sum."));
    };
    await show();
    return [choices("The next token after:", context.texts.slice(first).map(visible), Math.max(0, values.token - first), (i) => {
      values.token = first + i;
      save();
      show();
    }), body];
  },
  question: "The logit of one token is larger by 1 than that of another. How do their probabilities compare?",
  answer: () => "The first is e times as probable, about 2.7 times, however large the logits are. Only differences count.",
  code: ["logits = self.lm_head(self.ln_f(x))"],
  links: ["3b1b-gpt"],
};

const SAMPLED = 10; // rows of the table

/** @type {Step} */
export const sampling = {
  name: "sampling",
  title: "Choosing the next token",
  parts: ["sampling"],
  text: () => [
    "The model gives probabilities. To write, we draw one token at random: a token with a probability of 30 % is drawn in about 30 of 100 draws.",
    "The *temperature* divides the logits before softmax. Below 1, probable tokens become even more probable. Above 1, all tokens become more alike.",
    "*Top-k* keeps only the k most probable tokens. *Top-p* keeps the smallest group of most probable tokens that together have probability p.",
  ],
  async figure(context) {
    const { vectors } = await context.vectors(0, 0);
    const { logits, log_sum } = vectors;
    const { values, setter } = context.settings("sampling", { temperature: 1, topK: logits.length, topP: 1 });
    const known = logits.reduce((sum, [, logit]) => sum + Math.exp(logit - log_sum), 0);
    const before = logits.map(([, logit]) => Math.exp(logit - log_sum));
    const body = make("div");
    const result = make("p", { role: "status" });
    /** @type {string[]} */
    const drawn = [];
    let probabilities = reshape(logits, values);
    const show = (/** @type {string | undefined} */ selected) => {
      probabilities = reshape(logits, values);
      body.replaceChildren(table("Probabilities of the next token", ["next token", "from the model", "with your settings"], logits.slice(0, SAMPLED).map(([token], i) => [
        make(token === selected ? "b.drawn" : "b", visible(token)), shareBar(before[i]), probabilities[i] ? shareBar(probabilities[i][1]) : "left out"])));
    };
    const set = setter(() => show(undefined));
    show(undefined);
    const vocabulary = context.model.vocab_size;
    return [
      make("p", "The next token after ", make("q", context.ending), ":"),
      slider("Temperature", { min: 0.1, max: 2, step: 0.05, value: values.temperature }, (value) => num(value), (temperature) => set({ temperature })),
      slider("Top-k", { min: 1, max: logits.length, step: 1, value: values.topK }, (value) => (value === logits.length ? `${value}: all` : String(value)), (topK) => set({ topK })),
      slider("Top-p", { min: 0.05, max: 1, step: 0.05, value: values.topP }, (value) => percent(value), (topP) => set({ topP })),
      body,
      make("p.actions", button("Draw a token", () => {
        const [token, probability] = draw(probabilities, Math.random());
        drawn.unshift(visible(token));
        show(token);
        result.textContent = `Drawn: ${visible(token)}, with probability ${percent(probability)}. ${drawn.length > 1 ? `Last draws: ${drawn.slice(0, 12).join(" ")}` : ""}`;
      })), result,
      make("p.small", `The table shows the ${Math.min(SAMPLED, logits.length)} most probable tokens. `, vocabulary > logits.length
        ? `Draws are from the ${logits.length} most probable of ${formatCount(vocabulary)} tokens, which together have ${percent(known)}.` : "A draw can give any other token, too.")];
  },
  question: "What happens if the temperature is almost 0?",
  answer: () => "The most probable token has nearly 100 %. The model then writes the same text each time, and often repeats itself.",
  code: ["logits = logits / temperature", "logits = logits.masked_fill(logits < worst, -math.inf)", "following = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)"],
  links: ["3b1b-gpt", "karpathy-gpt"],
};
