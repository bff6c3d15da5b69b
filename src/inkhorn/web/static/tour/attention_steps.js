// @ts-check
// The steps about attention: by hand, as a table, and many heads.

/** @import { FoundHead } from "./behaviours.js" */
/** @import { Step } from "./steps.js" */

import { AttentionArcs } from "../views/attention.js";
import { button, byPointer, make, percent, visible } from "../views/dom.js";
import { FIRST, headName } from "./context.js";
import { choices, dot, dropdown, LEGEND, largest, mix, namedStrip, num, numbers, shareBar, softmax, strip, table } from "./figures.js";

const THREE = 3;

/** @type {Step} */
export const qkv = {
  name: "qkv",
  title: "Attention by hand",
  parts: ["attention"],
  text: () => [
    "So far, each vector knows only its own token. *Attention* lets a token fetch information from the tokens before it. One unit that does this is called a *head*.",
    "The head makes three short vectors from the vector of each token. The *query* stands for what the token looks for. The *key* stands for what it offers. The *value* is what it hands over.",
    "A token compares its query with every key. Where they fit, it takes much of the value. Follow the four steps with real numbers:",
  ],
  async figure(context) {
    const [{ layer, head }] = await context.heads();
    const { vectors, tokens } = await context.vectors(layer, head, THREE);
    const { q, k, v } = vectors;
    const size = q[0].length;
    const { values, save } = context.settings("qkv", { token: tokens.length - 1 });
    const names = tokens.map(visible);
    const work = make("div");
    const show = () => {
      const t = Math.min(values.token, tokens.length - 1);
      const seen = [...Array(t + 1).keys()];
      const products = seen.map((i) => dot(q[t], k[i]));
      const scores = products.map((product) => product / Math.sqrt(size));
      const weights = softmax(scores);
      const scale = largest(...q, ...k);
      const valueScale = largest(...v);
      const most = weights.indexOf(Math.max(...weights));
      const terms = [0, 1, 2].filter((d) => d < size).map((d) => `${num(q[t][d])} × ${num(k[most][d])}`).join(" + ");
      const hidden = tokens.length - 1 - t;
      work.replaceChildren(
        make("h4", "1. The query and the keys"),
        namedStrip(`query of ${names[t]}`, q[t], scale),
        ...seen.map((i) => namedStrip(`key of ${names[i]}`, k[i], scale)),
        make("h4", "2. The scores"),
        make("p", `Multiply the query and the key number by number, and add up. Where both are positive (red) or both negative (blue), the score grows. Then divide by √${size}, so that long vectors do not give larger scores. For the key of ${names[most]}: `,
          make("span.formula", `(${terms}${size > 3 ? ` + … ${size} products` : ""}) ÷ √${size} = ${num(products[most], 1)} ÷ ${num(Math.sqrt(size), 1)} = ${num(scores[most])}`)),
        make("h4", "3. The weights"),
        make("p", ...["A rule called ", make("dfn", "softmax"), " turns the scores into weights. It takes e (2.718…) to the power of each score and divides by the sum. The weights are positive and add up to 100 %."]),
        table(`Scores and weights of ${names[t]}`, ["key of", "score", "e to the score", "attention weight"],
          seen.map((i) => [make("b", names[i]), num(scores[i]), Math.exp(scores[i]).toFixed(2), shareBar(weights[i])])),
        make("p.small", hidden ? `${names.slice(t + 1).join(" and ")} ${hidden > 1 ? "come" : "comes"} later, so ${names[t]} cannot see ${hidden > 1 ? "them" : "it"}.` : ""),
        make("h4", "4. The mix of values"),
        ...seen.map((i) => make("figure.vector", make("figcaption", `${percent(weights[i])} of the value of ${names[i]}`), strip(`value of ${names[i]}`, v[i], valueScale))),
        namedStrip(`sum: what the head hands to ${names[t]}`, mix(weights, v), valueScale));
    };
    show();
    return [
      make("p.small", `The first ${tokens.length} tokens of the text, in ${headName(layer, head)}. Each vector has ${size} numbers.`),
      choices("Which token asks?", names, Math.min(values.token, tokens.length - 1), (i) => {
        values.token = i;
        save();
        show();
      }), work, make("p.small", LEGEND)];
  },
  question: "Why may a token not look at the tokens after it?",
  answer: () => "When the model writes, the later tokens do not exist yet. In training they are hidden, because the model would only copy the answer.",
  code: ["q, k, v = self.c_attn(x).split(C, dim=2)", "scores = (q / math.sqrt(hs)) @ k.mT"],
  links: ["3b1b-attention", "karpathy-gpt"],
};

/**
 * The head and the token that show a habit best among the first tokens: one that looks further back than one token, if any.
 * @param {FoundHead[]} heads
 * @param {string[]} tokens
 */
function start(heads, tokens) {
  for (const name of ["duplicate_token", "induction", "line_start"]) {
    const index = heads.findIndex(({ behaviour }) => behaviour.name === name);
    for (let t = tokens.length - 1; t > 1 && index >= 0; t -= 1) {
      if (tokens.slice(0, t - 1).some((_, i) => heads[index].behaviour.looksAt(tokens, t, i))) return { head: index, token: t };
    }
  }
  return { head: 0, token: tokens.length - 1 };
}

/** @type {Step} */
export const headTable = {
  name: "head-table",
  title: "A head you can edit",
  parts: ["attention"],
  text: () => [
    "A head does the same for every token of the text at once. The first table has one row for each token that asks. The row shows how its attention is shared among the tokens so far.",
    "The second table is one of these rows. Change a score, and softmax computes all weights anew. The mix of values at the bottom changes with them.",
  ],
  async figure(context) {
    const heads = await context.heads();
    const { tokens } = await context.vectors(0, 0, FIRST);
    const { values, save } = context.settings("head-table", { ...start(heads, tokens), changes: /** @type {Record<number, number>} */ ({}) });
    const body = make("div");
    const show = async () => {
      const { layer, head } = heads[Math.min(values.head, heads.length - 1)];
      const { vectors } = await context.vectors(layer, head, FIRST);
      body.replaceChildren(...tables(vectors, tokens.map(visible), values, (name, value) => {
        Object.assign(values, { [name]: value });
        save();
        if (name === "token") show();
      }));
    };
    await show();
    const options = heads.map(({ behaviour, layer, head }) => `${behaviour.title} (${headName(layer, head)})`);
    return [dropdown("Head", options, values.head, (index) => {
      Object.assign(values, { head: index, changes: {} });
      save();
      show();
    }), body, make("p.small", LEGEND)];
  },
  question: "You raise one score by a lot. What happens to the other weights, and why?",
  answer: () => "They shrink. All weights together are always 100 %, so what one token gains, the others lose. Softmax only compares scores: if you raise all of them by the same amount, nothing changes.",
  code: ["weights = (scores + future).softmax(dim=-1)", "return F.dropout(weights, dropout) @ v"],
  links: ["3b1b-attention", "karpathy-gpt"],
};

/** Tokens, with their positions if they occur more than once. @type {(names: string[]) => string[]} */
const distinct = (names) => names.map((name, i) => (names.filter((other) => other === name).length > 1 ? `${name} (${i + 1})` : name));

/**
 * The weights of all tokens, and the editable row of one.
 * @param {import("../api/client.js").Vectors} vectors
 * @param {string[]} short the tokens
 * @param {{ token: number, changes: Record<number, number> }} values
 * @param {(name: "token" | "changes", value: any) => void} set
 */
function tables({ q, k, v }, short, values, set) {
  const names = distinct(short);
  const root = Math.sqrt(q[0].length);
  const rows = q.map((query, t) => k.slice(0, t + 1).map((key) => dot(query, key) / root));
  const t = Math.min(values.token, rows.length - 1);
  const all = rows.map(softmax);
  const cell = (/** @type {number | undefined} */ weight) => {
    if (weight === undefined) return make("td.later", { "aria-label": "later" });
    const shown = make("td", weight < 0.005 ? "0" : String(Math.round(100 * weight)));
    shown.style.setProperty("--weight", weight.toFixed(3));
    return shown;
  };
  const map = make("table.weights", make("caption", "Attention weights in percent. Rows: the token that asks. Columns: the token it looks at."),
    make("thead", make("tr", make("td"), ...short.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", ...all.map((weights, row) => make("tr", { className: row === t ? "current" : "" },
      make("th", { scope: "row" }, short[row]), ...short.map((_, i) => cell(weights[i]))))));
  const before = softmax(rows[t]);
  const scale = largest(...v);
  const result = make("div", { role: "status" });
  const bars = rows[t].map(() => make("td"));
  const inputs = rows[t].map((score, i) => make("input", {
    type: "number", step: 0.5, value: num(score + (values.changes[i] ?? 0)).replace("−", "-"), "aria-label": `score of ${names[i]}`, oninput: () => update(i),
  }));
  const show = () => {
    const scores = rows[t].map((score, i) => score + (values.changes[i] ?? 0));
    const weights = softmax(scores);
    bars.forEach((bar, i) => { bar.replaceChildren(shareBar(weights[i])); });
    const most = weights.indexOf(Math.max(...weights));
    const changed = Object.keys(values.changes).length > 0;
    result.replaceChildren(make("p", make("b", names[t]), " takes most from ", make("b", most === t ? "itself" : names[most]), `: ${percent(weights[most])}`,
      changed && most < before.length ? `. In the model, ${names[most]} has ${percent(before[most])}.` : "."),
    make("figure.vector", make("figcaption", changed ? "the mix of values with your scores" : "the mix of values"), strip("mix of values", mix(weights, v), scale)));
  };
  const update = (/** @type {number} */ i) => {
    const value = Number(inputs[i].value);
    if (inputs[i].value === "" || !Number.isFinite(value)) return;
    values.changes[i] = value - rows[t][i];
    set("changes", values.changes);
    show();
  };
  const reset = button("Reset the scores", () => {
    for (const i of Object.keys(values.changes)) delete values.changes[Number(i)];
    set("changes", values.changes);
    inputs.forEach((input, i) => { input.value = num(rows[t][i]).replace("−", "-"); });
    show();
  });
  const head = ["looks at", "score", "attention weight", "value"].map((name) => make("th", { scope: "col" }, name));
  const row = make("table.numbers", make("caption", "The scores of ", make("b", names[t])), make("thead", make("tr", ...head)),
    make("tbody", ...rows[t].map((_, i) => make("tr", make("th", { scope: "row" }, make("b", names[i])), make("td", inputs[i]), bars[i],
      make("td", strip(`value of ${names[i]}`, v[i], scale))))));
  show();
  const select = choices("Which token asks?", short, t, (index) => {
    set("changes", {});
    set("token", index);
  });
  return [map, select, row, result, make("p.actions", reset)];
}

/** @type {Step} */
export const heads = {
  name: "heads",
  title: "Many heads, many habits",
  parts: ["attention"],
  text: ({ model: { n_layer, n_head } }) => [
    `This model has ${n_layer} layers of ${n_head} heads each: ${n_layer * n_head} heads. Each makes its own queries, keys and values, so each looks for something else.`,
    "Nobody told a head what to look for. Training found what helps to predict the next token.",
    "We measured what every head looks at in this text. Below are the heads with the clearest habits. Most other heads are harder to describe.",
  ],
  async figure(context) {
    const found = await context.heads();
    const { model } = context;
    const { values, setter } = context.settings("heads", { layer: found[0].layer, head: found[0].head });
    const arcs = new AttentionArcs((t) => arcs.show(t));
    const about = make("p", { role: "status" });
    const show = async () => {
      const { layer, head } = values;
      const explanation = await context.explain(layer);
      if (layer !== values.layer || head !== values.head) return;
      arcs.set(explanation, head);
      const known = found.find((one) => one.layer === layer && one.head === head);
      about.replaceChildren(make("b", headName(layer, head)), known ? ` ${known.behaviour.about} Mean weight there in this text: ${percent(known.weight)}.` : ": what could be its habit?");
      for (const [i, input] of [...list.querySelectorAll("input")].entries()) input.checked = found[i] === known;
      [...own.querySelectorAll("select")].forEach((select, i) => { select.selectedIndex = [layer, head][i]; });
    };
    const set = setter(show);
    const list = make("fieldset.habits", make("legend", "Heads with a clear habit"), ...found.map(({ behaviour, layer, head, weight }) => make("label",
      make("input", { type: "radio", name: "habit", onchange: () => set({ layer, head }) }),
      make("span", `${behaviour.title} `, make("small", `${headName(layer, head)}: ${percent(weight)}`)))));
    const own = make("div.selectors", dropdown("Layer", numbers(model.n_layer), values.layer, (layer) => set({ layer })), dropdown("Head", numbers(model.n_head), values.head, (head) => set({ head })));
    requestAnimationFrame(show); // the arcs are measured, so they are drawn when they are in the page
    return [list, arcs.root, about, make("p.small", ...byPointer("Hover over a token", "Tap a token"), " to see where it looks. Or choose any head:"), own];
  },
  question: "In your own words: what does attention do?",
  answer: () => "Each token compares its query with the keys of all tokens up to itself. Softmax turns these scores into weights that add up to 100 %. The token then receives the values, mixed in these proportions. So attention moves information from the tokens that matter to the token that needs it.",
  code: ["q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)", "y = y.transpose(1, 2).reshape(B, T, C)"],
  links: ["olah-induction", "3b1b-attention"],
};
