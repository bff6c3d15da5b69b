// The forward pass of a GPT-1 or GPT-2, executed by all workers of a team. Every worker computes its own output blocks
// of each product; a barrier separates them from the phase that reads the outputs of the others.
#pragma once
#include "attention.hpp"
#include "edits.hpp"
#include "linear.hpp"
#include "math.hpp"
#include "normalize.hpp"
#include "session.hpp"

namespace ink::INK_ISA {

// One worker in one forward pass.
template <class Kv>
struct Worker {
  ink_session &s;
  const ink_model &m;
  const int id, size;
  const int32_t rows;

  // Whether every worker prepares all rows itself, which saves a barrier. More rows are shared among the workers.
  bool is_private(int32_t count) const { return count <= PRIVATE_ROWS; }
  Workspace &workspace(int32_t count) const {
    return is_private(count) ? s.private_workspaces[id] : s.shared_workspace;
  }

  uint8_t *unpacked() const { return s.private_workspaces[id].unpacked; }

  // Prefetch the weights of the next product, then wait for the other workers.
  void barrier_before(const Matrix &next) {
    prefetch_weights(next, id, size);
    s.team.barrier();
  }

  // Convert `count` rows of `source` to the input format of `matrix`, after layer norm if `norm` is given. `indices`
  // selects the rows; null selects the first ones.
  // `edited_layer` is given if the normalized rows are the residual stream before that layer, which edits may change.
  Activations prepare(const float *source, const Matrix &matrix, const LayerNorm *norm, int32_t count,
                      const int32_t *indices, int32_t edited_layer = -1) {
    Workspace &to = workspace(count);
    const int32_t n = matrix.inputs_padded, step = is_private(count) ? 1 : size;
    const bool convert = matrix.precision != INK_FP32;
    const size_t stride = (size_t)n * input_bytes(matrix.precision);
    const int32_t sums_stride = n / LANES;
    for (int32_t r = is_private(count) ? 0 : id; r < count; r += step) {
      const int32_t index = indices == nullptr ? r : indices[r];
      const float *row = source + (size_t)index * n;
      if (norm != nullptr) {
        float *normalized = to.normalized + (size_t)r * n;
        layer_norm(row, *norm, m.config.n_embd, n, m.config.layer_norm_epsilon, normalized);
        if (edited_layer >= 0) edit_row(s, INK_RESID, edited_layer, index, normalized, nullptr);
        row = normalized;
      }
      if (!convert) continue;
      uint8_t *converted = to.converted + (size_t)r * stride;
      int32_t *sums = to.sums + (size_t)r * sums_stride;
      if (matrix.precision == INK_BF16)
        convert_to_bf16(row, n, converted);
      else if (matrix.precision == INK_INT8)
        to.scales[r] = quantize_int8<8>(row, n, matrix.group_size, converted, sums);
      else
        to.scales[r] = quantize_int8<4>(row, n, matrix.group_size, converted, sums);
    }
    if (!is_private(count) && (convert || norm != nullptr)) s.team.barrier();
    if (convert) return {to.converted, stride, to.scales, to.sums, sums_stride};
    return {(const uint8_t *)(norm != nullptr ? to.normalized : source), (size_t)n * 4, nullptr, nullptr, 0};
  }

  // The sum of the token embedding and the position embedding.
  void embed() {
    using Element = typename Kv::Element;
    const int32_t n_embd = m.config.n_embd;
    for (int32_t r = id; r < rows; r += size) {
      const Row &row = s.batch.rows[r];
      const auto *token = (const Element *)m.wte + (size_t)row.token * n_embd;
      const auto *position = (const Element *)m.wpe + (size_t)row.position * n_embd;
      float *x = s.x + (size_t)r * m.n_embd_padded;
      int32_t i = 0;
      for (; i + LANES <= n_embd; i += LANES)
        store(x + i, Kv::load_elements(token + i) + Kv::load_elements(position + i));
      for (; i < n_embd; i++) x[i] = to_float(token[i]) + to_float(position[i]);
      if (is_edited(s, INK_RESID, 0)) edit_row(s, INK_RESID, 0, r, x, nullptr);
    }
    barrier_before(m.layers[0].c_attn);
  }
  static float to_float(float x) { return x; }
  static float to_float(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    __builtin_memcpy(&x, &wide, 4);
    return x;
  }

  // Scatter sixteen outputs of c_attn: queries to q, keys and values to the KV cache.
  void store_qkv(int32_t layer, int32_t r, int32_t block, f32x16 out) {
    using Element = typename Kv::Element;
    using Query = typename Kv::Query;
    const Row &row = s.batch.rows[r];
    const f32x16 scale = broadcast(1.0f / __builtin_sqrtf((float)m.head_size));
    const int32_t head_size = m.head_size_padded, first = block * LANES, outputs = 3 * m.config.n_embd;
    const bool aligned = m.head_size == head_size;  // the sixteen outputs are adjacent dimensions of one head
    Element elements[LANES];
    Query scaled[LANES];
    Kv::store_elements(elements, out);
    Kv::store_query(scaled, out * scale);
    for (int32_t i = 0; i < LANES && first + i < outputs; i++) {
      const QkvSlot &to = s.qkv_slots[first + i];
      const size_t head_offset = (size_t)to.head * m.block_size_padded * head_size;
      auto *keys = (Element *)s.keys(row.slot, layer) + head_offset;
      auto *values = (Element *)s.values(row.slot, layer) + head_offset + (size_t)row.position * head_size;
      auto *query = (Query *)s.q + ((size_t)r * m.config.n_head + to.head) * head_size;
      if (to.section == 1 && aligned) {
        Element *key = keys + key_index<Kv>(head_size, row.position, to.dim);
        for (int32_t d = 0; d < LANES; d++) key[(size_t)(d / Kv::DIMS) * LANES * Kv::DIMS + d % Kv::DIMS] = elements[d];
      } else if (to.section == 1) {
        keys[key_index<Kv>(head_size, row.position, to.dim)] = elements[i];
      } else if (aligned) {
        if (to.section == 0)
          __builtin_memcpy(query + to.dim, scaled, sizeof scaled);
        else
          __builtin_memcpy(values + to.dim, elements, sizeof elements);
      } else if (to.section == 0) {
        query[to.dim] = scaled[i];
      } else {
        values[to.dim] = elements[i];
      }
      if (aligned) return;
    }
  }

  // to = residual + product
  void linear_residual(const Matrix &matrix, const Activations &a, float *to, int32_t stride, const float *residual) {
    linear(matrix, a, rows, id, size, unpacked(), [&](int32_t r, int32_t block, f32x16 out) {
      const size_t at = (size_t)r * stride + (size_t)block * LANES;
      store(to + at, load(residual + at) + out);
    });
  }

  // hidden = activation(product)
  template <class Function>
  void linear_activation(const Matrix &matrix, const Activations &a, Function activation) {
    linear(matrix, a, rows, id, size, unpacked(), [&](int32_t r, int32_t block, f32x16 out) {
      store(s.hidden + (size_t)r * m.n_inner_padded + (size_t)block * LANES, activation(out));
    });
  }

  // Keep the residual stream, from which the edits of a sublayer's output compute that output.
  void save_residual(const float *residual) {
    const size_t stride = (size_t)m.n_embd_padded;
    for (int32_t r = id; r < rows; r += size) __builtin_memcpy(s.saved + r * stride, residual + r * stride, stride * 4);
    s.team.barrier();
  }

  // Apply the edits of a sublayer's output, or of the residual stream, to s.x.
  void edit_stream(ink_site site, int32_t layer) {
    s.team.barrier();
    const size_t stride = (size_t)m.n_embd_padded;
    for (int32_t r = id; r < rows; r += size)
      edit_row(s, site, layer, r, s.x + r * stride, site == INK_RESID ? nullptr : s.saved + r * stride);
  }

  // GPT-1 normalizes the sum after each sublayer, and the result is the next residual. Here the next sublayer does so
  // when it prepares its input.
  void attention_sublayer(int32_t i) {
    const Layer &w = m.layers[i];
    const bool pre_norm = m.config.pre_norm;
    const LayerNorm *norm = pre_norm ? &w.ln_1 : i > 0 ? &m.layers[i - 1].ln_2 : nullptr;
    const bool edits_normalized = !pre_norm && i > 0 && is_edited(s, INK_RESID, i);
    const Activations input = prepare(s.x, w.c_attn, norm, rows, nullptr, edits_normalized ? i : -1);
    const float *residual = pre_norm || norm == nullptr ? s.x : workspace(rows).normalized;
    linear(w.c_attn, input, rows, id, size, unpacked(),
           [&](int32_t r, int32_t block, f32x16 out) { store_qkv(i, r, block, out); });
    barrier_before(w.attn_c_proj);
    attention<Kv>(s, i, id);
    s.team.barrier();
    if (is_edited(s, INK_HEAD_OUT, i)) {
      for (int32_t r = id; r < rows; r += size)
        edit_row(s, INK_HEAD_OUT, i, r, s.y + (size_t)r * m.n_embd_padded, nullptr);
      s.team.barrier();
    }
    if (is_edited(s, INK_ATTN_OUT, i)) save_residual(residual);
    linear_residual(w.attn_c_proj, prepare(s.y, w.attn_c_proj, nullptr, rows, nullptr), s.x, m.n_embd_padded, residual);
    if (is_edited(s, INK_ATTN_OUT, i)) edit_stream(INK_ATTN_OUT, i);
    barrier_before(w.c_fc);
  }

  void mlp_sublayer(int32_t i) {
    const Layer &w = m.layers[i];
    const bool pre_norm = m.config.pre_norm;
    const Activations input = prepare(s.x, w.c_fc, pre_norm ? &w.ln_2 : &w.ln_1, rows, nullptr);
    switch (m.config.activation) {
      case INK_GELU_NEW: linear_activation(w.c_fc, input, [](f32x16 x) { return gelu_new(x); }); break;
      case INK_GELU: linear_activation(w.c_fc, input, [](f32x16 x) { return gelu(x); }); break;
      default: linear_activation(w.c_fc, input, [](f32x16 x) { return relu(x); });
    }
    barrier_before(w.mlp_c_proj);
    const float *residual = pre_norm ? s.x : workspace(rows).normalized;
    if (is_edited(s, INK_MLP_OUT, i)) save_residual(residual);
    linear_residual(w.mlp_c_proj, prepare(s.hidden, w.mlp_c_proj, nullptr, rows, nullptr), s.x, m.n_embd_padded,
                    residual);
    if (is_edited(s, INK_MLP_OUT, i)) edit_stream(INK_MLP_OUT, i);
    if (pre_norm && is_edited(s, INK_RESID, i + 1)) edit_stream(INK_RESID, i + 1);
    barrier_before(i + 1 < m.config.n_layer ? m.layers[i + 1].c_attn : m.lm_head);
  }

  void lm_head() {
    const int32_t count = s.batch.n_outputs;
    if (count == 0) return;
    const LayerNorm *norm = m.config.pre_norm ? &m.ln_f : &m.layers[m.config.n_layer - 1].ln_2;
    const bool edits_normalized = !m.config.pre_norm && is_edited(s, INK_RESID, m.config.n_layer);
    const Activations a =
        prepare(s.x, m.lm_head, norm, count, s.batch.output_rows, edits_normalized ? m.config.n_layer : -1);
    linear(m.lm_head, a, count, id, size, unpacked(), [&](int32_t r, int32_t block, f32x16 out) {
      store(s.logits + (size_t)r * s.logits_stride + (size_t)block * LANES, out);
    });
    s.team.barrier();
  }

  void forward() {
    embed();
    for (int32_t i = 0; i < m.config.n_layer; i++) {
      attention_sublayer(i);
      mlp_sublayer(i);
    }
    lm_head();
  }
};

template <class Kv>
static void run_forward(ink_session &s, int id) {
  Worker<Kv>{s, s.model, id, s.team.size(), s.batch.n_rows}.forward();
}

}  // namespace ink::INK_ISA
