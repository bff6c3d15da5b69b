// Where each tensor lies in a packed model, and opening one.
#include "model.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

namespace ink {

namespace {

thread_local char message[256];

// Hands out a block of memory from its beginning, a line at a time.
struct Cursor {
  uint8_t *base;
  size_t used = 0;

  template <class T>
  T *take(size_t count) {
    T *found = base == nullptr ? nullptr : (T *)(base + used);
    used += (count * sizeof(T) + LINE - 1) / LINE * LINE;
    return found;
  }
};

Matrix matrix(Cursor &cursor, const ink_config &config, int32_t inputs, int32_t outputs, int32_t precision) {
  Matrix m{};
  m.inputs = inputs;
  m.outputs = outputs;
  m.depth = round_up(inputs, LANE_COUNT);
  m.blocks = round_up(outputs, LANE_COUNT) / LANE_COUNT;
  m.precision = precision;
  m.group = config.group == 0 || config.group > m.depth ? m.depth : config.group;
  m.groups = (m.depth + m.group - 1) / m.group;
  m.weights = cursor.take<uint8_t>((size_t)m.blocks * m.block_bytes());
  if (precision >= INK_INT8) m.scales = cursor.take<uint16_t>((size_t)m.blocks * m.groups * LANE_COUNT);
  m.bias = cursor.take<float>((size_t)m.blocks * LANE_COUNT);
  return m;
}

Norm norm(Cursor &cursor, int32_t width) {
  Norm n{};
  n.weight = cursor.take<float>((size_t)width);
  n.bias = cursor.take<float>((size_t)width);
  return n;
}

}  // namespace

int fail(int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return status;
}

const char *last_message() { return message; }

bool valid(const ink_config &c) {
  const struct {
    const char *name;
    int32_t value, low, high;
  } bounds[] = {
      {"vocab_size", c.vocab_size, 1, 1 << 24}, {"block_size", c.block_size, 1, 1 << 20},
      {"n_layer", c.n_layer, 1, 1 << 12},       {"n_head", c.n_head, 1, 1 << 12},
      {"n_embd", c.n_embd, 1, 1 << 16},         {"n_inner", c.n_inner, 1, 1 << 18},
      {"pre_norm", c.pre_norm, 0, 1},           {"tied", c.tied, 0, 1},
      {"activation", c.activation, 0, 2},       {"precision", c.precision, 0, 3},
  };
  for (const auto &bound : bounds)
    if (bound.value < bound.low || bound.value > bound.high) {
      fail(INK_BAD_ARGUMENT, "%s must be from %d to %d, not %d", bound.name, bound.low, bound.high, bound.value);
      return false;
    }
  if (c.n_embd % c.n_head != 0) {
    fail(INK_BAD_ARGUMENT, "n_embd (%d) must be a multiple of n_head (%d)", c.n_embd, c.n_head);
    return false;
  }
  if (c.group != 0 && c.group != 32 && c.group != 64 && c.group != 128) {
    fail(INK_BAD_ARGUMENT, "group must be 0, 32, 64 or 128, not %d", c.group);
    return false;
  }
  if (!(c.layer_norm_epsilon > 0.0f)) {
    fail(INK_BAD_ARGUMENT, "layer_norm_epsilon must be above 0");
    return false;
  }
  return true;
}

size_t lay_out(const ink_config &config, uint8_t *base, ink_model *model) {
  ink_model scratch{};
  Layer discarded;
  ink_model &m = model == nullptr ? scratch : *model;
  m.config = config;
  m.width = round_up(config.n_embd, LANE_COUNT);
  m.inner = round_up(config.n_inner, LANE_COUNT);
  m.head_size = config.n_embd / config.n_head;
  m.head_width = round_up(m.head_size, LANE_COUNT);
  m.block_size = round_up(config.block_size, LANE_COUNT);

  Cursor cursor{base};
  cursor.take<Header>(1);
  const size_t element = config.precision == INK_FP32 ? 4 : 2;
  m.wte = cursor.take<uint8_t>((size_t)config.vocab_size * config.n_embd * element);
  m.wpe = cursor.take<uint8_t>((size_t)config.block_size * config.n_embd * element);
  for (int32_t i = 0; i < config.n_layer; i++) {
    Layer &layer = model == nullptr ? discarded : m.layers[i];
    layer.ln_1 = norm(cursor, m.width);
    layer.c_attn = matrix(cursor, config, config.n_embd, 3 * config.n_embd, config.precision);
    layer.attn_c_proj = matrix(cursor, config, config.n_embd, config.n_embd, config.precision);
    layer.ln_2 = norm(cursor, m.width);
    layer.c_fc = matrix(cursor, config, config.n_embd, config.n_inner, config.precision);
    layer.mlp_c_proj = matrix(cursor, config, config.n_inner, config.n_embd, config.precision);
  }
  m.ln_f = norm(cursor, m.width);
  // The head decides between tokens: in int4 it stays at eight bits.
  const int32_t precision = config.precision == INK_INT4 ? (int32_t)INK_INT8 : config.precision;
  m.head = matrix(cursor, config, config.n_embd, config.vocab_size, precision);
  return cursor.used;
}

}  // namespace ink

extern "C" {

size_t ink_packed_size(const ink_config *config) {
  return config != nullptr && ink::valid(*config) ? ink::lay_out(*config, nullptr, nullptr) : 0;
}

int ink_model_open(const ink_config *config, const void *packed, size_t bytes, ink_model **model) {
  if (config == nullptr || packed == nullptr || model == nullptr) return ink::fail(INK_BAD_ARGUMENT, "null");
  if (!ink::valid(*config)) return INK_BAD_ARGUMENT;
  if ((uintptr_t)packed % ink::LINE != 0) return ink::fail(INK_BAD_ARGUMENT, "a packed model must start on a cache line");
  const size_t size = ink::lay_out(*config, nullptr, nullptr);
  if (bytes != size)
    return ink::fail(INK_BAD_ARGUMENT, "a packed model of this shape has %zu bytes, not %zu", size, bytes);
  ink::Header header;
  std::memcpy(&header, packed, sizeof header);
  if (std::memcmp(header.magic, "INKHORN", 8) != 0 || header.abi != INK_ABI ||
      std::memcmp(&header.config, config, sizeof *config) != 0)
    return ink::fail(INK_BAD_ARGUMENT, "not a packed model of this shape and version");
  auto *opened = new (std::nothrow) ink_model{};
  auto *layers = new (std::nothrow) ink::Layer[(size_t)config->n_layer];
  if (opened == nullptr || layers == nullptr) {
    delete opened;
    delete[] layers;
    return ink::fail(INK_NO_MEMORY, "no memory for %d layers", config->n_layer);
  }
  opened->layers = layers;
  ink::lay_out(*config, (uint8_t *)const_cast<void *>(packed), opened);
  *model = opened;
  return INK_OK;
}

void ink_model_close(ink_model *model) {
  if (model == nullptr) return;
  delete[] model->layers;
  delete model;
}
}
