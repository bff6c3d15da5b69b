// @ts-check
// The title and explanation of each panel, and the statements of src/inkhorn/model.py that it shows. A test checks that
// model.py contains each statement, whatever comment follows it there.

import { make } from "./dom.js";

/**
 * @typedef {"attention" | "importance" | "map" | "residual" | "lens" | "next"} PanelName
 * @type {Record<PanelName, { title: string, about: string, code: string[] }>}
 */
export const PANELS = {
  attention: {
    title: "Attention",
    about: "Each head lets a token read from itself and from earlier tokens. The attention weights of a token sum to 1; the thicker the arc, the larger the weight.",
    code: ["scores = (q / math.sqrt(hs)) @ k.mT", "weights = (scores + future).softmax(dim=-1)"],
  },
  map: {
    title: "Attention map",
    about: "All weights of this head: row t holds the weights of token t over the tokens up to t, stronger colours for larger weights. Above the diagonal the causal mask hides the later tokens.",
    code: ["future = torch.full((T, T), -math.inf, dtype=q.dtype).triu(1)"],
  },
  importance: {
    title: "What matters here",
    about: "Each part is switched off in turn, and the model predicts this token again. Strong colours mark the parts whose absence changes its probability most.",
    code: ["x = x + self.attn(self.ln_1(x))", "x = x + self.mlp(self.ln_2(x))"],
  },
  residual: {
    title: "Residual stream",
    about: "Attention and MLP add their output to the residual stream, block after block (GPT-1 normalizes after each addition instead of before each sublayer). The line is the root mean square of the last token's stream; the bars are that of what each block adds.",
    code: ["x = x + self.attn(self.ln_1(x))", "x = x + self.mlp(self.ln_2(x))"],
  },
  lens: {
    title: "Logit lens",
    about: "The output head, after the final LayerNorm of GPT-2, applied early, to the residual stream after each block. Each row is the prediction at that depth for this token, and the probability it gives to the actual one.",
    code: ["logits = self.lm_head(self.ln_f(x))"],
  },
  next: {
    title: "Next token",
    about: "The ten most likely tokens to follow, at temperature 1: the head turns the last token's residual stream into one logit per vocabulary entry, and softmax turns the logits into probabilities.",
    code: ["logits = logits[:, -1, :]"],
  },
};

/**
 * A panel: heading, explanation, the given content, and the code it shows.
 * @param {PanelName} name
 * @param {"h3" | "h4"} level
 * @param {...import("./dom.js").Child} children
 */
export function panel(name, level, ...children) {
  const { title, about, code } = PANELS[name];
  return make("section", { className: `panel ${name}` },
    make(level, {}, title),
    make("p.about", about),
    ...children,
    make("figure.quote",
      make("figcaption", "model.py"),
      ...code.map((line) => make("code", line))));
}
