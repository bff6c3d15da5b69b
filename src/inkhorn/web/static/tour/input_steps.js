// @ts-check
// The steps about the input: tokens and embeddings.

/** @import { Context } from "./context.js" */
/** @import { Step } from "./steps.js" */

import { formatCount, make, spoken, visible } from "../views/dom.js";
import { FIRST } from "./context.js";
import { choices, LEGEND, largest, namedStrip } from "./figures.js";

const MAX_INPUT = 60;

/** @type {Step} */
export const tokens = {
  name: "tokens",
  title: "Text becomes tokens",
  parts: ["tokens"],
  text: ({ isCharacters, model }) => [
    `A language model reads text in small pieces. Such a piece is a *token*. ${isCharacters ? "In this model, each token is one character." : "In this model, a token is a word, a part of a word, or a punctuation mark."}`,
    `All tokens that the model knows are its *vocabulary*. This one has ${formatCount(model.vocab_size)} tokens, and each has a number. The model sees only the numbers.`,
    "The model has one task: from the tokens so far, say how probable each token of the vocabulary is as the next one.",
  ],
  async figure(context) {
    const first = context.texts.join("").trim().split("\n").slice(0, 2).join(" ").slice(0, 24).trim();
    const { values, save } = context.settings("tokens", { text: first });
    const input = make("input", { id: "tour-text", type: "text", maxLength: MAX_INPUT, value: values.text, autocomplete: "off", spellcheck: false });
    const result = make("div", { role: "status" });
    const show = async () => {
      const text = input.value;
      if (text === "") return result.replaceChildren(make("p.small", "Type something."));
      const { tokens: found, vectors } = await context.explainer.explain({ model: context.model.id, text, layer: 0, head: 0 });
      if (input.value !== text || !vectors) return;
      const start = vectors.first;
      result.replaceChildren(
        make("p.small", `${found.length} token${found.length === 1 ? "" : "s"}${start ? `. The last ${found.length - start}` : ""}, each with its number:`),
        make("ol.tiles", ...found.slice(start).map((token, i) => make("li",
          make("b", { "aria-label": spoken(token) }, visible(token)), make("small", vectors.ids[i])))));
    };
    input.addEventListener("input", () => {
      values.text = input.value;
      save();
      show().catch((error) => result.replaceChildren(error.message));
    });
    await show();
    return [make("p.field", make("label", { htmlFor: input.id }, "Your text"), input), result,
      make("p.small", "␣ stands for a space and ↵ for a line break.")];
  },
  question: "You type the same token twice. Does it get the same number both times?",
  answer: () => "Yes. The number says which token it is. It does not say where the token stands. The next step adds that.",
  code: ["logits, _ = self(idx[:, -self.config.block_size :])"],
  links: ["3b1b-gpt", "karpathy-tokenizer"],
};

/** @type {Step} */
export const embedding = {
  name: "embedding",
  title: "A vector for each token",
  parts: ["embedding"],
  text: ({ model }) => [
    `A *vector* is a list of numbers. The model has a vector of ${model.n_embd} numbers for each token of its vocabulary: the token’s *embedding*.`,
    "It has another vector for each position in the text: first, second, third, and so on.",
    "The two are added, number by number. The sum says which token it is and where it stands.",
    "Nobody chose these numbers. At first they were random, and training changed them until they were useful.",
  ],
  async figure(context) {
    const { vectors, tokens } = await context.vectors(0, 0, FIRST);
    const repeated = tokens.findLastIndex((token, i) => tokens.indexOf(token) < i);
    const { values, save } = context.settings("embedding", { token: Math.max(0, repeated) });
    const scale = largest(...vectors.wte, ...vectors.wpe);
    const strips = make("div.vectors");
    const show = () => {
      const i = Math.min(values.token, tokens.length - 1);
      const [token, position] = [vectors.wte[i], vectors.wpe[i]];
      strips.replaceChildren(
        namedStrip(`embedding of the token ${visible(tokens[i])}`, token, scale),
        make("span", { className: "sign" }, "+"),
        namedStrip(`embedding of position ${vectors.first + i + 1}`, position, scale),
        make("span", { className: "sign" }, "="),
        namedStrip(`vector of ${visible(tokens[i])} at position ${vectors.first + i + 1}`, token.map((value, d) => value + position[d]), scale));
    };
    show();
    return [choices("Choose a token:", tokens.map(visible), Math.min(values.token, tokens.length - 1), (i) => {
      values.token = i;
      save();
      show();
    }), strips, make("p.small", LEGEND)];
  },
  question: "A token occurs twice in a text. Which of the three vectors are the same for both?",
  answer: () => "Only the first one, because it is the same token. The positions differ, so the position's vector and the sum differ.",
  code: ["x = self.drop(self.wte(idx) + self.wpe(positions))"],
  links: ["3b1b-gpt", "olah-representations"],
};
