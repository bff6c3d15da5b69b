#include "pack.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "error.hpp"
#include "model.hpp"
#include "platform.hpp"
#include "thread_team.hpp"

namespace ink {

namespace {

// The tensor of a matrix, stored as [inputs, outputs] like a GPT-2 Conv1D or as [outputs, inputs] like an embedding.
struct Source {
  const float *tensor;
  size_t input_stride, output_stride;
};

float from_bf16(uint16_t bits) {
  const uint32_t wide = (uint32_t)bits << 16;
  float f;
  std::memcpy(&f, &wide, 4);
  return f;
}

uint16_t to_bf16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The nearest integer, ties to even, clamped to [-limit, limit]. Adding 1.5 * 2^23 rounds off the fraction.
int32_t quantize(float x, int32_t limit) {
  const float rounded = (x + 12582912.0f) - 12582912.0f;
  return std::max(-limit, std::min(limit, (int32_t)rounded));
}

// A scale rounded up to bfloat16, so that the largest weight stays within the range of the integers.
uint16_t round_scale_up(float scale) {
  const uint16_t bits = to_bf16(scale);
  return from_bf16(bits) < scale ? (uint16_t)(bits + 1) : bits;
}

// The scale with the smallest squared error. With four bits it pays to clip the largest weights.
uint16_t search_scale(const float *weights, int32_t n, float largest, int32_t limit) {
  uint16_t best = round_scale_up(largest / (float)limit);
  float best_error = -1.0f;
  for (int step = 0; step <= 12; step++) {
    const uint16_t bits = to_bf16(largest / (float)limit * (1.0f - 0.04f * (float)step) * 1.06f);
    const float scale = from_bf16(bits);
    if (scale == 0.0f) continue;
    float error = 0.0f;
    for (int32_t i = 0; i < n; i++) {
      const float difference = weights[i] - scale * (float)quantize(weights[i] / scale, limit);
      error += difference * difference;
    }
    if (best_error < 0.0f || error < best_error) {
      best_error = error;
      best = bits;
    }
  }
  return best;
}

void pack_quantized(const Matrix &m, int32_t block, const std::vector<float> &columns) {
  const bool is_int4 = m.precision == INK_INT4;
  const int32_t limit = is_int4 ? 7 : 127;
  uint8_t *out = m.weights + (size_t)block * m.block_bytes();
  for (int32_t n = 0; n < LANES; n++)
    for (int32_t g = 0; g < m.groups; g++) {
      const int32_t from = g * m.group_size, count = std::min(m.group_size, m.inputs_padded - from);
      const float *w = columns.data() + (size_t)n * m.inputs_padded + from;
      float largest = 0.0f;
      for (int32_t i = 0; i < count; i++) largest = std::max(largest, std::fabs(w[i]));
      const uint16_t bits = is_int4 ? search_scale(w, count, largest, limit) : round_scale_up(largest / (float)limit);
      const float scale = from_bf16(bits);
      const float inverse = scale > 0.0f && std::isfinite(1.0f / scale) ? 1.0f / scale : 0.0f;
      m.scales[((size_t)block * m.groups + g) * LANES + n] = bits;
      for (int32_t i = 0; i < count; i++) {
        const int32_t q = quantize(w[i] * inverse, limit), k = from + i;
        if (!is_int4) {
          out[((size_t)(k / 4) * LANES + n) * 4 + k % 4] = (uint8_t)(q + 128);
        } else {
          const int32_t nibble = q + 8;
          out[((size_t)(k / 8) * LANES + n) * 4 + k % 4] |= (uint8_t)(k % 8 < 4 ? nibble : nibble << 4);
        }
      }
    }
}

void pack_block(const Matrix &m, int32_t block, const Source &source, const float *bias) {
  uint8_t *out = m.weights + (size_t)block * m.block_bytes();
  std::memset(out, 0, m.block_bytes());
  std::vector<float> columns((size_t)LANES * m.inputs_padded, 0.0f);  // [n][k]
  for (int32_t n = 0; n < LANES; n++) {
    const int32_t output = block * LANES + n;
    m.bias[output] = bias != nullptr && output < m.outputs ? bias[output] : 0.0f;
    if (output >= m.outputs) continue;
    const float *from = source.tensor + (size_t)output * source.output_stride;
    for (int32_t k = 0; k < m.inputs; k++)
      columns[(size_t)n * m.inputs_padded + k] = from[(size_t)k * source.input_stride];
  }
  if (m.precision >= INK_INT8) return pack_quantized(m, block, columns);
  for (int32_t n = 0; n < LANES; n++)
    for (int32_t k = 0; k < m.inputs_padded; k++) {
      const float w = columns[(size_t)n * m.inputs_padded + k];
      if (m.precision == INK_FP32) {
        ((float *)out)[(size_t)k * LANES + n] = w;
      } else {
        ((uint16_t *)out)[((size_t)(k / 2) * LANES + n) * 2 + k % 2] = to_bf16(w);
      }
    }
}

// A unit of work for one thread: one block of a matrix.
struct Job {
  const Matrix *matrix;
  Source source;
  const float *bias;
  int32_t block;
};

void pack_norm(const LayerNorm &norm, int32_t n_padded, int32_t n, const float *weight, const float *bias) {
  std::fill(norm.weight, norm.weight + n_padded, 0.0f);
  std::fill(norm.bias, norm.bias + n_padded, 0.0f);
  if (weight == nullptr) return;
  std::copy(weight, weight + n, norm.weight);
  std::copy(bias, bias + n, norm.bias);
}

void pack_embedding(const ink_config &config, void *to, const float *from, size_t count) {
  if (config.precision == INK_FP32) {
    std::memcpy(to, from, count * 4);
  } else {
    for (size_t i = 0; i < count; i++) ((uint16_t *)to)[i] = to_bf16(from[i]);
  }
}

bool all_finite(const float *tensor, size_t count) {
  float probe = 0.0f;  // infinity * 0 and NaN * 0 are NaN, which persists in the sum
  for (size_t i = 0; i < count; i++) probe += tensor[i] * 0.0f;
  return probe == 0.0f;
}

}  // namespace

int32_t count_tensors(const ink_config &c) {
  return 2 + 12 * c.n_layer + (c.pre_norm ? 2 : 0) + (c.tie_word_embeddings ? 0 : 1);
}

int pack_model(const ink_config &c, const float *const *tensors, uint8_t *packed) {
  std::vector<Layer> layers((size_t)c.n_layer);
  ink_model m{};
  m.layers = layers.data();
  layout_model(c, packed, &m);
  PackedHeader header{{}, INK_ABI, c};
  std::memcpy(header.magic, PACKED_MAGIC, sizeof PACKED_MAGIC);
  std::memset(packed, 0, CACHE_LINE);
  std::memcpy(packed, &header, sizeof header);

  const size_t n_embd = (size_t)c.n_embd;
  std::vector<Job> jobs;
  const auto add = [&](const Matrix &matrix, Source source, const float *bias) {
    for (int32_t block = 0; block < matrix.blocks; block++) jobs.push_back({&matrix, source, bias, block});
  };
  const auto finite = [](const float *tensor, size_t count, const char *name) {
    return all_finite(tensor, count) || (fail(INK_NOT_FINITE, "%s contains NaN or infinite values", name), false);
  };
  const float *const *next = tensors;  // in the order of ModelConfig.tensor_specs
  const float *wte = *next++, *wpe = *next++;
  if (!finite(wte, c.vocab_size * n_embd, "wte") || !finite(wpe, c.block_size * n_embd, "wpe")) return INK_NOT_FINITE;
  pack_embedding(c, m.wte, wte, c.vocab_size * n_embd);
  pack_embedding(c, m.wpe, wpe, c.block_size * n_embd);
  for (int32_t i = 0; i < c.n_layer; i++) {
    const float *t[12];
    const size_t n_inner = (size_t)c.n_inner;
    const size_t sizes[12] = {n_embd, n_embd, 3 * n_embd * n_embd, 3 * n_embd, n_embd * n_embd,  n_embd,
                              n_embd, n_embd, n_embd * n_inner,    n_inner,    n_inner * n_embd, n_embd};
    for (int j = 0; j < 12; j++) {
      t[j] = *next++;
      if (!finite(t[j], sizes[j], "a tensor of a block"))
        return fail(INK_NOT_FINITE, "h.%d contains NaN or infinite values", i);
    }
    Layer &layer = layers[(size_t)i];
    pack_norm(layer.ln_1, m.n_embd_padded, c.n_embd, t[0], t[1]);
    add(layer.c_attn, {t[2], 3 * n_embd, 1}, t[3]);
    add(layer.attn_c_proj, {t[4], n_embd, 1}, t[5]);
    pack_norm(layer.ln_2, m.n_embd_padded, c.n_embd, t[6], t[7]);
    add(layer.c_fc, {t[8], n_inner, 1}, t[9]);
    add(layer.mlp_c_proj, {t[10], n_embd, 1}, t[11]);
  }
  const float *ln_f = c.pre_norm ? *next++ : nullptr, *ln_f_bias = c.pre_norm ? *next++ : nullptr;
  if (ln_f != nullptr && (!finite(ln_f, n_embd, "ln_f") || !finite(ln_f_bias, n_embd, "ln_f"))) return INK_NOT_FINITE;
  pack_norm(m.ln_f, m.n_embd_padded, c.n_embd, ln_f, ln_f_bias);
  const float *lm_head = c.tie_word_embeddings ? wte : *next++;
  if (!finite(lm_head, c.vocab_size * n_embd, "lm_head")) return INK_NOT_FINITE;
  add(m.lm_head, {lm_head, 1, n_embd}, nullptr);

  std::atomic<size_t> next_job{0};
  ThreadTeam team(available_cores());
  team.run([&](int) {
    for (size_t i = next_job++; i < jobs.size(); i = next_job++)
      pack_block(*jobs[i].matrix, jobs[i].block, jobs[i].source, jobs[i].bias);
  });
  return INK_OK;
}

}  // namespace ink
