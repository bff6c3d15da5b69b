// @ts-check
// The model's forward pass and its sampler: the server's kernel, compiled to WebAssembly. native/web/api.cpp documents the
// functions of the module. On every browser it computes the same bits as the server with INKHORN_ISA=portable.

/**
 * @typedef {object} Config
 * @property {"gpt2" | "openai-gpt"} model_type
 * @property {number} n_layer
 * @property {number} n_head
 * @property {number} n_embd
 * @property {number} block_size
 * @property {number} vocab_size
 * @property {number} inner hidden units of the MLP
 *
 * @typedef {object} SamplingParams
 * @property {number} [temperature]
 * @property {number} [top_k]
 * @property {number} [top_p]
 * @property {number} [min_p]
 *
 * @typedef {object} Edit a change to an activation: x becomes scale * x + vector; the fields are those of `ink_edit`
 * @property {number} site 0: the output of a head, 1: of attention, 2: of the MLP, 3: the residual stream before the layer
 * @property {number} layer
 * @property {number} [head]
 * @property {number} [scale] default 1
 * @property {ArrayLike<number>} [vector]
 * @property {number} [first] first token of the text that is changed
 * @property {number} [end] first token after those
 *
 * @typedef {object} Trace views of the module's memory, valid until its next call; the rows are padded
 * @property {(depth: number, row: number) => Float32Array} residual (C) after so many blocks
 * @property {(head: number, row: number) => Float32Array} attention (block_size), of the layer
 * @property {(layer: number, part: 0 | 1) => Float32Array} update (C) of attention (0) or MLP (1), of the last row
 * @property {Float32Array} hidden (I) of the last row, of the layer
 * @property {(row: number) => Float32Array} token (C) embedding
 * @property {(row: number) => Float32Array} position (C) embedding
 * @property {(layer: number, head: number) => Float32Array} head (C / heads), the output of a head at the last row
 * @property {(head: number, row: number, part: number) => Float32Array} qkv (hs) query (0), key (1) or value (2), of the layer
 * @property {(part: number) => Float32Array} norm (C) of the last row: input (0) and output (1) of the layer's first LayerNorm,
 *   and what the output head reads (2)
 *
 * @typedef {{ logprob: number, top: [number, number][] }} Logprobs of a token, and the likeliest ids with theirs
 */

const UNSUPPORTED = "The model cannot run in this browser: it needs WebAssembly with SIMD, which browsers have since 2023.";
const INVALID = "The model's weights do not fit this version of the page. Reload the page.";
const EDIT_BYTES = 28; // of an ink_edit
const MAX_POSITION = 2 ** 31 - 1;
const ALIGNMENT = 16; // rows are padded to a multiple of so many floats

/** @type {(n: number) => number} */
const padded = (n) => Math.ceil(n / ALIGNMENT) * ALIGNMENT;

export class Kernel {
  /**
   * @param {BufferSource} module the content of kernel.wasm
   * @returns {Promise<Kernel>}
   */
  static async compile(module) {
    const { instance } = await WebAssembly.instantiate(module).catch(() => {
      throw new Error(UNSUPPORTED);
    });
    return new Kernel(instance.exports);
  }

  /** @param {any} exports */
  constructor(exports) {
    exports._initialize();
    this.exports = exports;
    this.model = 0;
    this.address = 0;
    this.spareSessions = /** @type {Session[]} */ ([]);
  }

  /**
   * Room for the weights in the module's memory.
   * @param {number} bytes
   */
  allocate(bytes) {
    this.address = this.exports.ink_allocate(bytes);
    return new Uint8Array(this.exports.memory.buffer, this.address, bytes);
  }

  /**
   * Open the model whose weights were written there.
   * @param {number} bytes
   * @param {Config} config
   * @param {number[]} bannedIds never sampled, in ascending order
   */
  open(bytes, config, bannedIds) {
    this.model = this.exports.ink_open(this.address, bytes);
    if (this.model === 0) throw new Error(INVALID);
    this.config = config;
    this.bannedIds = bannedIds;
  }

  /**
   * Run a function with the cache of a new text. Caches are used again.
   * @template T
   * @param {(session: Session) => Promise<T>} run
   */
  async withSession(run) {
    const session = this.spareSessions.pop() ?? new Session(this);
    session.length = 0;
    session.setEdits([]);
    try {
      return await run(session);
    } finally {
      this.spareSessions.push(session);
    }
  }
}

/** The KV cache of one text, and the results of the last call. */
export class Session {
  /** @param {Kernel} kernel */
  constructor({ exports, model, config, bannedIds = [] }) {
    if (!config) throw new Error("open the model first");
    this.exports = exports;
    this.config = config;
    this.text = exports.ink_text_open(model);
    this.length = 0; // tokens in the cache
    this.hasEdits = false;
    new Int32Array(this.buffer, exports.ink_text_ban(this.text, bannedIds.length), bannedIds.length).set(bannedIds);
  }

  /** The memory; a call that allocates may replace it. @type {ArrayBuffer} */
  get buffer() {
    return this.exports.memory.buffer;
  }

  /** @param {number} address @param {number} length */
  floats(address, length) {
    return new Float32Array(this.buffer, address, length);
  }

  /** (V), after the last token. */
  get logits() {
    return this.floats(this.exports.ink_text_logits(this.text), this.config.vocab_size);
  }

  /** @param {number[]} ids */
  setIds(ids) {
    new Int32Array(this.buffer, this.exports.ink_text_ids(this.text), ids.length).set(ids);
  }

  /**
   * The changes to activations in the next calls. What is cached already stays as it was computed.
   * @param {Edit[]} edits
   * @param {number} [start] the token of the text at which the cache begins
   */
  setEdits(edits, start = 0) {
    if (edits.length === 0 && !this.hasEdits) return;
    this.hasEdits = edits.length > 0;
    const count = edits.reduce((sum, { vector }) => sum + (vector?.length ?? 0), 0);
    const addresses = this.exports.ink_text_edits(this.text, edits.length, count);
    const [structures, numbers] = new Uint32Array(this.buffer, addresses, 2);
    let used = numbers;
    edits.forEach(({ site, layer, head = 0, scale = 1, vector, first = 0, end = MAX_POSITION }, i) => {
      const fields = new DataView(this.buffer, structures + i * EDIT_BYTES, EDIT_BYTES);
      [site, layer, head, Math.max(first - start, 0), Math.max(end - start, 0)].forEach((value, k) => { fields.setInt32(4 * k, value, true); });
      fields.setFloat32(20, scale, true);
      if (!vector) return;
      this.floats(used, vector.length).set(vector);
      fields.setUint32(24, used, true);
      used += 4 * vector.length;
    });
  }

  /**
   * Append tokens to the cache.
   * @param {number[]} ids
   * @param {boolean} wantLogits
   */
  run(ids, wantLogits) {
    this.setIds(ids);
    this.exports.ink_text_run(this.text, this.length, ids.length, wantLogits ? 1 : 0);
    this.length += ids.length;
  }

  /**
   * The next token, drawn from the logits.
   * @param {SamplingParams} params
   * @param {number | bigint} seed
   * @param {number} position in the text
   */
  sample({ temperature = 1, top_k = 0, top_p = 1, min_p = 0 }, seed, position) {
    const id = this.exports.ink_text_sample(this.text, temperature, top_p, min_p, top_k, BigInt(seed), BigInt(position));
    if (id < 0) throw new Error("Sampling failed: the model's weights contain invalid values.");
    return id;
  }

  /**
   * @param {number} token
   * @param {number} count how many of the likeliest
   * @returns {Logprobs}
   */
  logprobs(token, count) {
    const top = Math.min(count, this.config.vocab_size);
    return this.readLogprobs(this.exports.ink_text_logprobs(this.text, token, top), 1, top)[0];
  }

  /**
   * @param {number} addresses
   * @param {number} count
   * @param {number} top
   * @returns {Logprobs[]}
   */
  readLogprobs(addresses, count, top) {
    const [first, second] = new Uint32Array(this.buffer, addresses, 2);
    const values = this.floats(first, count * (1 + top));
    const ids = new Int32Array(this.buffer, second, count * top);
    return Array.from({ length: count }, (_, i) => {
      const [logprob, ...others] = values.subarray(i * (1 + top), (i + 1) * (1 + top));
      return { logprob, top: others.map((value, k) => /** @type {const} */ ([ids[i * top + k], value])) };
    });
  }

  /**
   * Append tokens to the cache and keep the values that the inspector shows.
   * @param {number[]} ids
   * @param {number} layer
   * @returns {Trace}
   */
  trace(ids, layer) {
    this.setIds(ids);
    const addresses = this.exports.ink_text_trace(this.text, this.length, ids.length, layer);
    this.length += ids.length;
    const [residual, attention, updates, hidden, embeddings, heads, qkv, norms] = new Uint32Array(this.buffer, addresses, 8);
    const { n_embd: C, n_head, inner, block_size } = this.config;
    const head_size = C / n_head;
    const n = ids.length;
    const width = 4 * padded(C);
    return {
      residual: (depth, row) => this.floats(residual + (depth * n + row) * width, C),
      attention: (head, row) => this.floats(attention + (head * n + row) * 4 * padded(block_size), block_size),
      update: (at, part) => this.floats(updates + (2 * at + part) * width, C),
      hidden: this.floats(hidden, inner),
      token: (row) => this.floats(embeddings + 2 * row * width, C),
      position: (row) => this.floats(embeddings + (2 * row + 1) * width, C),
      head: (at, head) => this.floats(heads + at * width + (4 * head * C) / n_head, C / n_head),
      qkv: (head, row, part) => this.floats(qkv + (3 * (head * n + row) + part) * 4 * padded(head_size), head_size),
      norm: (part) => this.floats(norms + part * width, C),
    };
  }

  /**
   * The logit lens: the predictions from the rows of a depth of the last trace. `logits` are then those of the last row.
   * @param {Float32Array} residual of the first row; the others follow
   * @param {number[]} targets for each row, the token whose log-probability is wanted
   * @param {number} count how many of the likeliest
   */
  lens(residual, targets, count) {
    this.setIds(targets);
    const top = Math.min(count, this.config.vocab_size);
    return this.readLogprobs(this.exports.ink_text_lens(this.text, residual.byteOffset, targets.length, top), targets.length, top);
  }
}
