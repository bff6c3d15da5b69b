// @ts-check
// Where to read or watch more. The page requests nothing from there: these are links to follow.

/** @type {Record<string, [string, string]>} title and address */
export const LINKS = {
  "3b1b-gpt": ["3Blue1Brown, chapter 5: Transformers, the tech behind LLMs", "https://www.3blue1brown.com/lessons/gpt"],
  "3b1b-attention": ["3Blue1Brown, chapter 6: Attention in transformers", "https://www.3blue1brown.com/lessons/attention"],
  "3b1b-mlp": ["3Blue1Brown, chapter 7: How might LLMs store facts", "https://www.3blue1brown.com/lessons/mlp"],
  "3b1b-gradient": ["3Blue1Brown, chapter 2: Gradient descent", "https://www.3blue1brown.com/lessons/gradient-descent"],
  "karpathy-tokenizer": ["Karpathy: Let’s build the GPT tokenizer", "https://www.youtube.com/watch?v=zduSFxRajkE"],
  "karpathy-gpt": ["Karpathy: Let’s build GPT", "https://www.youtube.com/watch?v=kCc8FmEb1nY"],
  "karpathy-makemore": ["Karpathy: Building makemore", "https://www.youtube.com/watch?v=PaCmpygFfXo"],
  "karpathy-micrograd": ["Karpathy: Building micrograd", "https://www.youtube.com/watch?v=VMj-3S1tku0"],
  "olah-representations": ["Olah: Deep learning, NLP, and representations", "https://colah.github.io/posts/2014-07-NLP-RNNs-Representations/"],
  "olah-information": ["Olah: Visual information theory", "https://colah.github.io/posts/2015-09-Visual-Information/"],
  "olah-backprop": ["Olah: Calculus on computational graphs", "https://colah.github.io/posts/2015-08-Backprop/"],
  "olah-framework": ["Elhage, Olah and others: A mathematical framework for transformer circuits", "https://transformer-circuits.pub/2021/framework/index.html"],
  "olah-induction": ["Olsson, Olah and others: In-context learning and induction heads", "https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/index.html"],
};
