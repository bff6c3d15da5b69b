// Packing: float32 tensors into the blocked layout of model.hpp, rounded or quantised once.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "model.hpp"
#include "team.hpp"

namespace ink {

namespace {

// Where a weight comes from: [inputs, outputs] as transformers keeps matrices, or [outputs, inputs] as an embedding.
struct Source {
  const float *tensor;
  size_t by_input, by_output;
};

float widen(uint16_t bits) {
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

// The nearest whole number within +-limit; ties to even.
int32_t quantised(float x, int32_t limit) {
  const float whole = (x + 12582912.0f) - 12582912.0f;
  return std::max(-limit, std::min(limit, (int32_t)whole));
}

// A scale rounded so that the largest weight stays within +-limit.
uint16_t scale_above(float scale) {
  const uint16_t bits = to_bf16(scale);
  return widen(bits) < scale ? (uint16_t)(bits + 1) : bits;
}

// Four bits are so few that the largest weight is better cut off a little: the scale with the least squared error.
uint16_t best_scale(const float *weights, int32_t n, float largest, int32_t limit) {
  uint16_t best = scale_above(largest / (float)limit);
  float least = -1.0f;
  for (int step = 0; step <= 12; step++) {
    const uint16_t bits = to_bf16(largest / (float)limit * (1.0f - 0.04f * (float)step) * 1.06f);
    const float scale = widen(bits);
    if (scale == 0.0f) continue;
    float error = 0.0f;
    for (int32_t i = 0; i < n; i++) {
      const float off = weights[i] - scale * (float)quantised(weights[i] / scale, limit);
      error += off * off;
    }
    if (least < 0.0f || error < least) {
      least = error;
      best = bits;
    }
  }
  return best;
}

void pack_integers(const Matrix &m, int32_t block, const std::vector<float> &columns) {
  const bool four = m.precision == INK_INT4;
  const int32_t limit = four ? 7 : 127;
  uint8_t *out = m.weights + (size_t)block * m.block_bytes();
  for (int32_t n = 0; n < LANE_COUNT; n++)
    for (int32_t g = 0; g < m.groups; g++) {
      const int32_t from = g * m.group, count = std::min(m.group, m.depth - from);
      const float *w = columns.data() + (size_t)n * m.depth + from;
      float largest = 0.0f;
      for (int32_t i = 0; i < count; i++) largest = std::max(largest, std::fabs(w[i]));
      const uint16_t bits = four ? best_scale(w, count, largest, limit) : scale_above(largest / (float)limit);
      const float scale = widen(bits);
      const float inverse = scale > 0.0f && std::isfinite(1.0f / scale) ? 1.0f / scale : 0.0f;
      m.scales[((size_t)block * m.groups + g) * LANE_COUNT + n] = bits;
      for (int32_t i = 0; i < count; i++) {
        const int32_t q = quantised(w[i] * inverse, limit), k = from + i;
        if (!four) {
          out[((size_t)(k / 4) * LANE_COUNT + n) * 4 + k % 4] = (uint8_t)(q + 128);
        } else {
          const int32_t nibble = q + 8;
          out[((size_t)(k / 8) * LANE_COUNT + n) * 4 + k % 4] |= (uint8_t)(k % 8 < 4 ? nibble : nibble << 4);
        }
      }
    }
}

void pack_block(const Matrix &m, int32_t block, const Source &source, const float *bias) {
  uint8_t *out = m.weights + (size_t)block * m.block_bytes();
  std::memset(out, 0, m.block_bytes());
  std::vector<float> columns((size_t)LANE_COUNT * m.depth, 0.0f);  // [n][k]
  for (int32_t n = 0; n < LANE_COUNT; n++) {
    const int32_t output = block * LANE_COUNT + n;
    m.bias[output] = bias != nullptr && output < m.outputs ? bias[output] : 0.0f;
    if (output >= m.outputs) continue;
    const float *from = source.tensor + (size_t)output * source.by_output;
    for (int32_t k = 0; k < m.inputs; k++) columns[(size_t)n * m.depth + k] = from[(size_t)k * source.by_input];
  }
  if (m.precision >= INK_INT8) return pack_integers(m, block, columns);
  for (int32_t n = 0; n < LANE_COUNT; n++)
    for (int32_t k = 0; k < m.depth; k++) {
      const float w = columns[(size_t)n * m.depth + k];
      if (m.precision == INK_FP32) {
        ((float *)out)[(size_t)k * LANE_COUNT + n] = w;
      } else {
        ((uint16_t *)out)[((size_t)(k / 2) * LANE_COUNT + n) * 2 + k % 2] = to_bf16(w);
      }
    }
}

// All that is to be packed, in pieces that threads take in turn.
struct Job {
  const Matrix *matrix;
  Source source;
  const float *bias;
  int32_t block;
};

void pack_norm(const Norm &norm, int32_t width, int32_t n, const float *weight, const float *bias) {
  std::fill(norm.weight, norm.weight + width, 0.0f);
  std::fill(norm.bias, norm.bias + width, 0.0f);
  if (weight == nullptr) return;
  std::copy(weight, weight + n, norm.weight);
  std::copy(bias, bias + n, norm.bias);
}

void pack_table(const ink_config &config, void *to, const float *from, size_t count) {
  if (config.precision == INK_FP32) {
    std::memcpy(to, from, count * 4);
  } else {
    for (size_t i = 0; i < count; i++) ((uint16_t *)to)[i] = to_bf16(from[i]);
  }
}

int32_t tensors_of(const ink_config &c) { return 2 + 12 * c.n_layer + (c.pre_norm ? 2 : 0) + (c.tied ? 0 : 1); }

bool all_finite(const float *tensor, size_t count) {
  float probe = 0.0f;  // any number times 0 is 0, but for an infinity or a NaN, which make NaN for good
  for (size_t i = 0; i < count; i++) probe += tensor[i] * 0.0f;
  return probe == 0.0f;
}

}  // namespace

int pack(const ink_config &c, const float *const *tensors, uint8_t *packed) {
  std::vector<Layer> layers((size_t)c.n_layer);
  ink_model m{};
  m.layers = layers.data();
  lay_out(c, packed, &m);
  Header header{{'I', 'N', 'K', 'H', 'O', 'R', 'N', 0}, INK_ABI, c};
  std::memset(packed, 0, LINE);
  std::memcpy(packed, &header, sizeof header);

  const size_t width = (size_t)c.n_embd;
  std::vector<Job> jobs;
  const auto add = [&](const Matrix &matrix, Source source, const float *bias) {
    for (int32_t block = 0; block < matrix.blocks; block++) jobs.push_back({&matrix, source, bias, block});
  };
  const auto finite = [](const float *tensor, size_t count, const char *name) {
    return all_finite(tensor, count) || (fail(INK_NOT_FINITE, "%s holds values that are not finite", name), false);
  };
  const float *const *next = tensors;
  const float *wte = *next++, *wpe = *next++;
  if (!finite(wte, c.vocab_size * width, "wte") || !finite(wpe, c.block_size * width, "wpe")) return INK_NOT_FINITE;
  pack_table(c, m.wte, wte, c.vocab_size * width);
  pack_table(c, m.wpe, wpe, c.block_size * width);
  for (int32_t i = 0; i < c.n_layer; i++) {
    const float *t[12];
    const size_t inner = (size_t)c.n_inner;
    const size_t sizes[12] = {width, width, 3 * width * width, 3 * width, width * width, width,
                              width, width, width * inner,     inner,     inner * width, width};
    for (int j = 0; j < 12; j++) {
      t[j] = *next++;
      if (!finite(t[j], sizes[j], "a tensor of a block")) return fail(INK_NOT_FINITE, "h.%d holds values that are not finite", i);
    }
    Layer &layer = layers[(size_t)i];
    pack_norm(layer.ln_1, m.width, c.n_embd, t[0], t[1]);
    add(layer.c_attn, {t[2], 3 * width, 1}, t[3]);
    add(layer.attn_c_proj, {t[4], width, 1}, t[5]);
    pack_norm(layer.ln_2, m.width, c.n_embd, t[6], t[7]);
    add(layer.c_fc, {t[8], inner, 1}, t[9]);
    add(layer.mlp_c_proj, {t[10], width, 1}, t[11]);
  }
  const float *ln_f = c.pre_norm ? *next++ : nullptr, *ln_f_bias = c.pre_norm ? *next++ : nullptr;
  if (ln_f != nullptr && (!finite(ln_f, width, "ln_f") || !finite(ln_f_bias, width, "ln_f"))) return INK_NOT_FINITE;
  pack_norm(m.ln_f, m.width, c.n_embd, ln_f, ln_f_bias);
  const float *head = c.tied ? wte : *next++;
  if (!finite(head, c.vocab_size * width, "lm_head")) return INK_NOT_FINITE;
  add(m.head, {head, 1, width}, nullptr);

  std::atomic<size_t> taken{0};
  Team team(cores());
  team.run([&](int) {
    for (size_t i = taken++; i < jobs.size(); i = taken++)
      pack_block(*jobs[i].matrix, jobs[i].block, jobs[i].source, jobs[i].bias);
  });
  return INK_OK;
}

}  // namespace ink

extern "C" int ink_pack(const ink_config *config, const float *const *tensors, int32_t n_tensors, void *packed) {
  if (config == nullptr || tensors == nullptr || packed == nullptr) return ink::fail(INK_BAD_ARGUMENT, "null");
  if (!ink::valid(*config)) return INK_BAD_ARGUMENT;
  if (n_tensors != ink::tensors_of(*config))
    return ink::fail(INK_BAD_ARGUMENT, "a model of this shape has %d tensors, not %d", ink::tensors_of(*config), n_tensors);
  for (int32_t i = 0; i < n_tensors; i++)
    if (tensors[i] == nullptr) return ink::fail(INK_BAD_ARGUMENT, "tensor %d is null", i);
  try {
    return ink::pack(*config, tensors, (uint8_t *)packed);
  } catch (const std::bad_alloc &) {
    return ink::fail(INK_NO_MEMORY, "no memory to pack the model");
  } catch (const std::system_error &error) {
    return ink::fail(INK_NO_MEMORY, "cannot start a thread: %s", error.what());
  }
}
