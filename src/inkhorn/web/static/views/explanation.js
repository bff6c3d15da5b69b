// What the client tells of one text and one layer, unpacked.

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** {scale, data} to numbers. */
function vector({ scale, data }) {
  return Float32Array.from(new Int8Array(bytes(data).buffer), (value) => value * scale);
}

export class Explanation {
  constructor(told) {
    this.told = told;
    this.tokens = told.tokens;
    this.size = told.tokens.length;
    this.layer = told.layer;
    this.layers = told.n_layer;
    this.heads = told.n_head;
    this.next = told.next;
    this.added = told.added;
    this.packed = bytes(told.attention);
    this.probs = bytes(told.lens.probs);
    this.actual = bytes(told.lens.actual);
  }

  /** How much head `head` looks from token t at each token up to t; the weights sum to 1. */
  attention(head, t) {
    const start = (head * this.size * (this.size + 1)) / 2 + (t * (t + 1)) / 2;
    const row = this.packed.subarray(start, start + t + 1);
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    return Float32Array.from(row, (value) => value / sum);
  }

  /** What the model would say after token t, had it only `depth` blocks; actual: the odds of what does follow. */
  lens(depth, t) {
    const at = depth * this.size + t;
    return { token: this.told.lens.tokens[depth][t], probability: this.probs[at] / 255, actual: this.actual[at] / 255 };
  }

  /** Root mean square of the residual stream at token t, before the first block and after each. */
  residual(t) {
    return this.told.residual.map((row) => row[t]);
  }

  /** Of the last token: its row of wte or wpe, or the hidden layer of the MLP in this block. */
  last(name) {
    return vector(this.told.last[name]);
  }
}

/** Asks once for each text and layer. */
export class Explainer {
  constructor(client) {
    this.client = client;
    this.known = new Map();
  }

  /** Of the text's end; the model sees no more than its block, so the rest stays here. */
  explain({ model, text, layer }) {
    const end = text.slice(-4096);
    const name = JSON.stringify([model, layer, end]);
    if (!this.known.has(name)) {
      if (this.known.size > 40) this.known.clear();
      const answer = this.client.explain({ model, text: end, layer }).then((told) => new Explanation(told));
      answer.catch(() => this.known.delete(name)); // to be asked again
      this.known.set(name, answer);
    }
    return this.known.get(name);
  }
}
