// The forward pass, with and without a trace, in one file so that its templates are compiled once.
#include "../isa.cpp"

#include "trace.hpp"

namespace ink::portable {

namespace {

template <class Kv>
struct TracingWorker : Worker<Kv> {
  using Worker<Kv>::s, Worker<Kv>::m, Worker<Kv>::rows;

  // The residual stream of a row, which GPT-1 normalizes after each sublayer.
  void copy_stream(int32_t row, const LayerNorm &norm, float *to) const {
    const float *x = s.x + (size_t)row * m.n_embd_padded;
    if (m.config.pre_norm)
      __builtin_memcpy(to, x, (size_t)m.n_embd_padded * 4);
    else
      normalize(x, norm, to);
  }

  // The last row's s.x minus `before`.
  void subtract(const float *before, float *to) const {
    const float *x = s.x + (size_t)(rows - 1) * m.n_embd_padded;
    for (int32_t i = 0; i < m.n_embd_padded; i++) to[i] = x[i] - before[i];
  }

  // The attention weights of one layer, from its queries and keys.
  void copy_attention(int32_t layer, float *to) const {
    using Element = typename Kv::Element;
    const size_t head_size = (size_t)m.head_size_padded, stride = (size_t)m.block_size_padded;
    for (int32_t h = 0; h < m.config.n_head; h++)
      for (int32_t r = 0; r < rows; r++, to += stride) {
        const Row &row = s.batch.rows[r];
        const auto *keys = (const Element *)s.keys(row.slot, layer) + (size_t)h * stride * head_size;
        const auto *query = (const typename Kv::Query *)s.q + ((size_t)r * m.config.n_head + h) * head_size;
        const int32_t blocks = row.position / LANES + 1;
        compute_scores<Kv, 1>(keys, keys, query, 0, m.head_size_padded, blocks, to, stride);
        softmax(to, row.position, blocks * LANES);
      }
  }

  // Queries, keys and values of one layer. The session's queries are divided by the root of the head's size.
  void copy_qkv(int32_t layer, float *to) const {
    using Element = typename Kv::Element;
    const size_t head_size = (size_t)m.head_size_padded, cached = (size_t)m.block_size_padded * head_size;
    const float scale = __builtin_sqrtf((float)m.head_size);
    for (int32_t h = 0; h < m.config.n_head; h++)
      for (int32_t r = 0; r < rows; r++, to += 3 * head_size) {
        const Row &row = s.batch.rows[r];
        const auto *query = (const typename Kv::Query *)s.q + ((size_t)r * m.config.n_head + h) * head_size;
        const auto *keys = (const Element *)s.keys(row.slot, layer) + (size_t)h * cached;
        const auto *values = (const Element *)s.values(row.slot, layer) + (size_t)h * cached;
        for (int32_t d = 0; d < m.head_size; d++) {
          to[d] = Worker<Kv>::to_float(query[d]) * scale;
          to[head_size + d] = Worker<Kv>::to_float(keys[key_index<Kv>(m.head_size_padded, row.position, d)]);
          to[2 * head_size + d] = Worker<Kv>::to_float(values[(size_t)row.position * head_size + d]);
        }
      }
  }

  void copy_embeddings(float *to) const {
    using Element = typename Kv::Element;
    const size_t n_embd = (size_t)m.config.n_embd, width = (size_t)m.n_embd_padded;
    for (int32_t r = 0; r < rows; r++, to += 2 * width) {
      const Row &row = s.batch.rows[r];
      const auto *token = (const Element *)m.wte + (size_t)row.token * n_embd;
      const auto *position = (const Element *)m.wpe + (size_t)row.position * n_embd;
      for (size_t i = 0; i < n_embd; i++) {
        to[i] = Worker<Kv>::to_float(token[i]);
        to[width + i] = Worker<Kv>::to_float(position[i]);
      }
    }
  }

  void normalize(const float *x, const LayerNorm &norm, float *to) const {
    layer_norm(x, norm, m.config.n_embd, m.n_embd_padded, m.config.layer_norm_epsilon, to);
  }

  void trace(int32_t layer, Trace &to) {
    const size_t width = (size_t)m.n_embd_padded, n = (size_t)rows, last = (n - 1) * width;
    const size_t n_layer = (size_t)m.config.n_layer;
    to.residual.assign((n_layer + 1) * n * width, 0.0f);
    to.attention.assign((size_t)m.config.n_head * n * (size_t)m.block_size_padded, 0.0f);
    to.updates.assign(n_layer * 2 * width, 0.0f);
    to.heads.resize(n_layer * width);
    to.embeddings.assign(n * 2 * width, 0.0f);
    to.qkv.assign((size_t)m.config.n_head * n * 3 * (size_t)m.head_size_padded, 0.0f);
    to.norms.assign(3 * width, 0.0f);
    copy_embeddings(to.embeddings.data());
    this->embed();
    float *residual = to.residual.data(), *update = to.updates.data();
    __builtin_memcpy(residual, s.x, n * width * 4);
    std::vector<float> middle(width);
    for (int32_t i = 0; i < m.config.n_layer; i++) {
      this->attention_sublayer(i);
      __builtin_memcpy(to.heads.data() + (size_t)i * width, s.y + last, width * 4);
      subtract(residual + last, update);
      if (i == layer) {
        copy_attention(i, to.attention.data());
        copy_qkv(i, to.qkv.data());
        const float *before = m.config.pre_norm ? residual + last : s.x + last;  // GPT-1 normalizes the sum
        __builtin_memcpy(to.norms.data(), before, width * 4);
        normalize(before, m.layers[i].ln_1, to.norms.data() + width);
      }
      copy_stream(rows - 1, m.layers[i].ln_1, middle.data());
      this->mlp_sublayer(i);
      subtract(middle.data(), update + width);
      const float *hidden = s.hidden + (n - 1) * (size_t)m.n_inner_padded;
      if (i == layer) to.hidden.assign(hidden, hidden + m.n_inner_padded);
      residual += n * width;
      update += 2 * width;
      for (int32_t r = 0; r < rows; r++) {
        float *stream = residual + (size_t)r * width;
        copy_stream(r, m.layers[i].ln_2, stream);
        // In GPT-1 the next sublayer applies these edits, when it normalizes the stream.
        if (!m.config.pre_norm && is_edited(s, INK_RESID, i + 1)) edit_row(s, INK_RESID, i + 1, r, stream, nullptr);
      }
    }
    float *head_input = to.norms.data() + 2 * width;
    if (m.config.pre_norm)
      normalize(residual + last, m.ln_f, head_input);
    else
      __builtin_memcpy(head_input, residual + last, width * 4);
  }
};

}  // namespace

void trace(ink_session &session, int32_t layer, Trace &to) {
  if (session.model.config.precision == INK_FP32)
    TracingWorker<KvF32>{{session, session.model, 0, 1, session.batch.n_rows}}.trace(layer, to);
  else
    TracingWorker<KvBF16>{{session, session.model, 0, 1, session.batch.n_rows}}.trace(layer, to);
}

void lens(ink_session &session, const float *residual, int32_t count) {
  const ink_model &m = session.model;
  Worker<KvF32> worker{session, m, 0, 1, count};  // the head does not read the KV cache
  const Activations a = worker.prepare(residual, m.lm_head, m.config.pre_norm ? &m.ln_f : nullptr, count, nullptr);
  linear(m.lm_head, a, count, 0, 1, worker.unpacked(), [&](int32_t r, int32_t block, f32x16 out) {
    store(session.logits + (size_t)r * session.logits_stride + (size_t)block * LANES, out);
  });
}

}  // namespace ink::portable
