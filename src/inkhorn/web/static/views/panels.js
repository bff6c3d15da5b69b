// What each panel shows, in two sentences, and the lines of src/inkhorn/model.py that it shows, quoted as they stand
// there. tests/test_page.py compares them.

import { make } from "./dom.js";

export const PANELS = {
  embedding: {
    title: "Embedding",
    about: "Each token has a row of numbers that says what it is, and each place has one that says where it is. Their sum is where the residual stream begins.",
    quote: ["x = self.drop(self.wte(idx) + self.wpe(positions))  # (B, T, C) + (T, C) -> (B, T, C)"],
  },
  attention: {
    title: "Attention",
    about: "Each head lets a token look back at itself and at those before it, and gather something from where it looks. The weights of one look sum to 1: the thicker the arc, the more of it goes there.",
    quote: [
      "scores = (q / math.sqrt(hs)) @ k.mT  # (B, nh, T, T): how much each token looks for each",
      "weights = (scores + future).softmax(dim=-1)  # (B, nh, T, T): each row sums to 1",
    ],
  },
  map: {
    title: "The whole head at once",
    about: "Each row of the map is a token that looks, each column a token that is looked at: the stronger the colour, the more. Above the diagonal lies the future, which no token sees.",
    quote: ["future = torch.full((T, T), -math.inf, dtype=q.dtype).triu(1)  # (T, T): -inf above the diagonal, 0 elsewhere"],
  },
  mlp: {
    title: "MLP",
    about: "What attention gathered is thought over, by each token for itself: out to four times the width, a bend, and back. Of the many cells of the hidden layer only some say much; each has learnt to answer to something.",
    quote: ["x = self.act(self.c_fc(x))  # (B, T, 4C)", "return self.dropout(self.c_proj(x))  # (B, T, C)"],
  },
  residual: {
    title: "Residual stream",
    about: "Attention and MLP do not replace what a token carries, they add to it, block after block. The line is the size of what the token carries (root mean square), the bars are the size of what each block adds.",
    quote: ["x = x + self.attn(self.ln_1(x))", "x = x + self.mlp(self.ln_2(x))"],
  },
  lens: {
    title: "Logit lens",
    about: "What if the head read the residual stream early, after only so many blocks? Each row is such a guess, and the odds that it would have given to what really came.",
    quote: ["logits = self.lm_head(self.ln_f(x))  # (B, T, V)"],
  },
  next: {
    title: "Likeliest next",
    about: "The head compares the stream of the last token with every token of the vocabulary, and softmax makes odds of the scores. These are the ten likeliest to follow, at temperature 1.",
    quote: ["logits = logits[:, -1, :]  # (B, V): what follows the last token"],
  },
  head: {
    title: "Head",
    about: "The head compares what the last token carries after the last block with every token of the vocabulary: a score for each, and softmax makes odds of the scores. Read early, after fewer blocks, the same head shows how the guess came about.",
    quote: ["logits = self.lm_head(self.ln_f(x))  # (B, T, V)"],
  },
  sampling: {
    title: "Sampling",
    about: "One token is drawn by these odds, put at the end of the text, and all begins again. A temperature below 1 makes the likely likelier, above 1 it evens the odds out; top-k leaves only the likeliest in.",
    quote: [
      "logits = logits / temperature",
      "following = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)  # (B, 1)",
    ],
  },
};

/** The frame of a panel: heading, what it shows, the lines it shows; what is drawn goes in between. */
export function panel(name, level, ...children) {
  const { title, about, quote } = PANELS[name];
  return make("section", { className: `panel ${name}` },
    make(level, {}, title),
    make("p.about", about),
    ...children,
    make("figure.quote",
      make("figcaption", "model.py"),
      ...quote.map((line) => make("code", line))));
}
