// The layout of a packed model.
#include "model.hpp"

#include <cstring>
#include <memory>

#include "error.hpp"

namespace ink {

namespace {

// Assigns consecutive parts of a block of memory, each aligned to a cache line.
struct Allocator {
  uint8_t *base;
  size_t used = 0;

  template <class T>
  T *allocate(size_t count) {
    T *address = base == nullptr ? nullptr : (T *)(base + used);
    used += (count * sizeof(T) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    return address;
  }
};

Matrix layout_matrix(Allocator &allocator, const ink_config &config, int32_t inputs, int32_t outputs,
                     int32_t precision) {
  Matrix m{};
  m.inputs = inputs;
  m.outputs = outputs;
  m.inputs_padded = round_up(inputs, LANES);
  m.blocks = round_up(outputs, LANES) / LANES;
  m.precision = precision;
  m.group_size = config.group_size == 0 || config.group_size > m.inputs_padded ? m.inputs_padded : config.group_size;
  m.groups = (m.inputs_padded + m.group_size - 1) / m.group_size;
  m.weights = allocator.allocate<uint8_t>((size_t)m.blocks * m.block_bytes());
  if (precision >= INK_INT8) m.scales = allocator.allocate<uint16_t>((size_t)m.blocks * m.groups * LANES);
  m.bias = allocator.allocate<float>((size_t)m.blocks * LANES);
  return m;
}

LayerNorm layout_norm(Allocator &allocator, int32_t size) {
  LayerNorm norm{};
  norm.weight = allocator.allocate<float>((size_t)size);
  norm.bias = allocator.allocate<float>((size_t)size);
  return norm;
}

}  // namespace

bool validate_config(const ink_config &c) {
  const struct {
    const char *name;
    int32_t value, low, high;
  } bounds[] = {
      {"vocab_size", c.vocab_size, 1, 1 << 24}, {"block_size", c.block_size, 1, 1 << 20},
      {"n_layer", c.n_layer, 1, 1 << 12},       {"n_head", c.n_head, 1, 1 << 12},
      {"n_embd", c.n_embd, 1, 1 << 16},         {"n_inner", c.n_inner, 1, 1 << 18},
      {"pre_norm", c.pre_norm, 0, 1},           {"tie_word_embeddings", c.tie_word_embeddings, 0, 1},
      {"activation", c.activation, 0, 2},       {"precision", c.precision, 0, 3},
  };
  for (const auto &bound : bounds)
    if (bound.value < bound.low || bound.value > bound.high) {
      fail(INK_INVALID_ARGUMENT, "%s must be from %d to %d, not %d", bound.name, bound.low, bound.high, bound.value);
      return false;
    }
  if (c.n_embd % c.n_head != 0) {
    fail(INK_INVALID_ARGUMENT, "n_embd (%d) must be a multiple of n_head (%d)", c.n_embd, c.n_head);
    return false;
  }
  if (c.group_size != 0 && c.group_size != 32 && c.group_size != 64 && c.group_size != 128) {
    fail(INK_INVALID_ARGUMENT, "group_size must be 0, 32, 64 or 128, not %d", c.group_size);
    return false;
  }
  if (!(c.layer_norm_epsilon > 0.0f)) {
    fail(INK_INVALID_ARGUMENT, "layer_norm_epsilon must be greater than 0");
    return false;
  }
  return true;
}

size_t layout_model(const ink_config &config, uint8_t *base, ink_model *model) {
  ink_model scratch{};
  Layer discarded;
  ink_model &m = model == nullptr ? scratch : *model;
  m.config = config;
  m.n_embd_padded = round_up(config.n_embd, LANES);
  m.n_inner_padded = round_up(config.n_inner, LANES);
  m.block_size_padded = round_up(config.block_size, LANES);
  m.head_size = config.n_embd / config.n_head;
  m.head_size_padded = round_up(m.head_size, LANES);

  Allocator allocator{base};
  allocator.allocate<PackedHeader>(1);
  const size_t element_size = config.precision == INK_FP32 ? 4 : 2;
  m.wte = allocator.allocate<uint8_t>((size_t)config.vocab_size * config.n_embd * element_size);
  m.wpe = allocator.allocate<uint8_t>((size_t)config.block_size * config.n_embd * element_size);
  for (int32_t i = 0; i < config.n_layer; i++) {
    Layer &layer = model == nullptr ? discarded : m.layers[i];
    layer.ln_1 = layout_norm(allocator, m.n_embd_padded);
    layer.c_attn = layout_matrix(allocator, config, config.n_embd, 3 * config.n_embd, config.precision);
    layer.attn_c_proj = layout_matrix(allocator, config, config.n_embd, config.n_embd, config.precision);
    layer.ln_2 = layout_norm(allocator, m.n_embd_padded);
    layer.c_fc = layout_matrix(allocator, config, config.n_embd, config.n_inner, config.precision);
    layer.mlp_c_proj = layout_matrix(allocator, config, config.n_inner, config.n_embd, config.precision);
  }
  m.ln_f = layout_norm(allocator, m.n_embd_padded);
  // The output of lm_head is most sensitive to rounding: an int4 model keeps it in int8.
  const int32_t head_precision = config.precision == INK_INT4 ? (int32_t)INK_INT8 : config.precision;
  m.lm_head = layout_matrix(allocator, config, config.n_embd, config.vocab_size, head_precision);
  return allocator.used;
}

int open_model(const ink_config &config, const void *packed, size_t bytes, ink_model **model) {
  if (!validate_config(config)) return INK_INVALID_ARGUMENT;
  if ((uintptr_t)packed % CACHE_LINE != 0)
    return fail(INK_INVALID_ARGUMENT, "a packed model must be aligned to %zu bytes", CACHE_LINE);
  const size_t size = layout_model(config, nullptr, nullptr);
  if (bytes != size)
    return fail(INK_INVALID_ARGUMENT, "a packed model with this configuration has %zu bytes, not %zu", size, bytes);
  PackedHeader header;
  std::memcpy(&header, packed, sizeof header);
  if (std::memcmp(header.magic, PACKED_MAGIC, sizeof PACKED_MAGIC) != 0 || header.abi != INK_ABI ||
      std::memcmp(&header.config, &config, sizeof config) != 0)
    return fail(INK_INVALID_ARGUMENT, "not a packed model with this configuration and ABI version %d", INK_ABI);
  auto layers = std::make_unique<Layer[]>((size_t)config.n_layer);
  auto opened = std::make_unique<ink_model>();
  opened->layers = layers.get();
  layout_model(config, (uint8_t *)const_cast<void *>(packed), opened.get());
  layers.release();
  *model = opened.release();
  return INK_OK;
}

void close_model(ink_model *model) {
  if (model == nullptr) return;
  delete[] model->layers;
  delete model;
}

}  // namespace ink
