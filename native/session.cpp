#include "session.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ink {

namespace {

size_t element_size(const ink_config &config) { return config.precision == INK_FP32 ? 4 : 2; }

// Size of the keys, and of the values, of one layer of a slot.
size_t kv_layer_size(const ink_model &m) {
  return (size_t)m.config.n_head * m.block_size_padded * m.head_size_padded * element_size(m.config);
}

size_t round_up_to_line(size_t bytes) { return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE; }

Workspace make_workspace(const ink_model &m, int32_t n_rows, bool is_private) {
  const size_t rows = (size_t)n_rows, max_inputs = (size_t)std::max(m.n_embd_padded, m.n_inner_padded);
  const size_t normalized = rows * m.n_embd_padded * 4, converted = rows * max_inputs * 4;
  const size_t scales = round_up(n_rows, LANES) * 4, sums = rows * max_inputs / LANES * 4;
  const size_t scores = is_private ? (size_t)MAX_TILE_ROWS * m.block_size_padded * 4 : 0;
  const size_t unpacked = is_private ? 2 * LANES * max_inputs : 0;
  Workspace w{};
  w.memory = AlignedBuffer(round_up_to_line(normalized) + round_up_to_line(converted) + round_up_to_line(scales) +
                           round_up_to_line(sums) + round_up_to_line(scores) + unpacked + CACHE_LINE);
  auto *next = w.memory.as<uint8_t>();
  const auto allocate = [&](size_t bytes) { return std::exchange(next, next + round_up_to_line(bytes)); };
  w.normalized = (float *)allocate(normalized);
  w.converted = allocate(converted);
  w.scales = (float *)allocate(scales);
  w.sums = (int32_t *)allocate(sums);
  w.scores = is_private ? (float *)allocate(scores) : nullptr;
  w.unpacked = is_private ? next : nullptr;
  return w;
}

}  // namespace

size_t slot_size(const ink_config &config) {
  std::vector<Layer> layers((size_t)config.n_layer);
  ink_model m{};
  m.layers = layers.data();
  layout_model(config, nullptr, &m);
  return kv_layer_size(m) * 2 * (size_t)config.n_layer;
}

}  // namespace ink

ink_session::ink_session(const ink_model &m, int32_t n_slots, int threads)
    : model(m), slots(n_slots), team(threads), kv_layer_bytes(ink::kv_layer_size(m)) {
  using ink::MAX_ROWS;
  kv_memory = ink::AlignedBuffer((size_t)slots * m.config.n_layer * 2 * kv_layer_bytes);
  kv_cache = kv_memory.as<uint8_t>();
  const size_t rows = MAX_ROWS, floats = rows * (2 * (size_t)m.n_embd_padded + m.n_inner_padded);
  const size_t queries = rows * m.config.n_head * m.head_size_padded;
  activation_memory = ink::AlignedBuffer((floats + queries) * 4);
  x = activation_memory.as<float>();
  y = x + rows * m.n_embd_padded;
  hidden = y + rows * m.n_embd_padded;
  q = (uint8_t *)(hidden + rows * m.n_inner_padded);
  logits_stride = m.lm_head.blocks * ink::LANES;
  shared_workspace = ink::make_workspace(m, MAX_ROWS, false);
  for (int i = 0; i < team.max_size(); i++)
    private_workspace_memory.push_back(ink::make_workspace(m, ink::PRIVATE_ROWS, true));
  private_workspaces = private_workspace_memory.data();
  sampling_buffers.resize((size_t)team.max_size());
  for (int32_t output = 0; output < 3 * m.config.n_embd; output++) {
    const int32_t within = output % m.config.n_embd;
    qkv_slot_memory.push_back({output / m.config.n_embd, within / m.head_size, within % m.head_size});
  }
  qkv_slots = qkv_slot_memory.data();
}

void ink_session::copy_slot(int32_t source, int32_t target, int32_t length) {
  // Copy whole blocks of 16 positions. The positions beyond the length are rewritten before they are read.
  const size_t element = ink::element_size(model.config);
  const size_t head_bytes = (size_t)model.block_size_padded * model.head_size_padded * element;
  const size_t bytes = (size_t)ink::round_up(length, ink::LANES) * model.head_size_padded * element;
  for (int32_t layer = 0; layer < model.config.n_layer; layer++)
    for (int32_t h = 0; h < model.config.n_head; h++) {
      std::memcpy(keys(target, layer) + h * head_bytes, keys(source, layer) + h * head_bytes, bytes);
      std::memcpy(values(target, layer) + h * head_bytes, values(source, layer) + h * head_bytes, bytes);
    }
}

void ink_session::set_edits(const ink_model_input *inputs, int32_t n_inputs) {
  batch.inputs = nullptr;
  batch.edited = nullptr;
  const auto layers = (size_t)model.config.n_layer + 1;
  for (int32_t i = 0; i < n_inputs; i++)
    for (int32_t j = 0; j < inputs[i].n_edits; j++) {
      const ink_edit &edit = inputs[i].edits[j];
      if (batch.edited == nullptr) edited.assign(4 * layers, 0);
      batch.inputs = inputs;
      batch.edited = edited.data();
      edited[(size_t)edit.site * layers + (size_t)edit.layer] = 1;
      if ((edit.site == INK_ATTN_OUT || edit.site == INK_MLP_OUT) && saved == nullptr) {
        saved_memory = ink::AlignedBuffer((size_t)ink::MAX_ROWS * model.n_embd_padded * 4);
        saved = saved_memory.as<float>();
      }
    }
}

void ink_session::reserve_logits(size_t outputs) {
  if (outputs <= logits_rows) return;
  logits_memory = ink::AlignedBuffer(outputs * logits_stride * 4);
  logits = logits_memory.as<float>();
  logits_rows = outputs;
}
