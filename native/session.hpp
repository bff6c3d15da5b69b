// A session: the KV cache, the thread team, and the buffers of a forward pass.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "batch.hpp"
#include "inkhorn.h"
#include "memory.hpp"
#include "model.hpp"
#include "sampling.hpp"
#include "thread_team.hpp"

namespace ink {

constexpr int32_t PRIVATE_ROWS = 2;  // up to this many rows, every worker prepares all rows itself and saves a barrier

// The target of an output of c_attn: query, key or value (0, 1, 2), the head, and the dimension within the head.
struct QkvSlot {
  int32_t section, head, dim;
};

// The input rows of a matrix product, in the precision that the product needs.
struct Activations {
  const uint8_t *rows;
  size_t stride;        // bytes
  const float *scales;  // int8: per row
  const int32_t *sums;  // int8: the sums of the quantized values per row and group
  int32_t sums_stride;
};

// Buffers for prepared rows: one workspace shared by all workers, and a private one per worker.
struct Workspace {
  float *normalized;   // [row][n_embd_padded]
  uint8_t *converted;  // [row][max(n_embd_padded, n_inner_padded)], at most 4 bytes each: see dot.hpp
  float *scales;       // [row]
  int32_t *sums;       // [row][inputs_padded / LANES]
  float *scores;       // [MAX_TILE_ROWS][block_size_padded], private workspaces only
  uint8_t *unpacked;   // [2][max(n_embd_padded, n_inner_padded)][16], private workspaces only: see amx.hpp
  AlignedBuffer memory;
};

// The size of one slot of the KV cache in bytes.
size_t slot_size(const ink_config &config);

}  // namespace ink

struct ink_session {
  ink_session(const ink_model &model, int32_t slots, int threads);

  void copy_slot(int32_t source, int32_t target, int32_t length);
  // Let the next forward passes apply the edits of these inputs.
  void set_edits(const ink_model_input *inputs, int32_t n_inputs);
  // Make room for the logits of one forward pass with this many outputs.
  void reserve_logits(size_t outputs);

  const ink_model &model;
  const int32_t slots;
  ink::ThreadTeam team;

  // KV cache: [slot][layer]{keys, values}[head][...], float in fp32, else bfloat16.
  //   keys    fp32 [position / 16][dim][position % 16], bfloat16 [position / 16][dim / 2][position % 16][dim % 2]
  //   values  [position][dim]
  ink::AlignedBuffer kv_memory;
  uint8_t *kv_cache;
  size_t kv_layer_bytes;  // of the keys, and of the values, of one layer
  [[gnu::always_inline]] uint8_t *keys(int32_t slot, int32_t layer) const {
    return kv_cache + ((size_t)slot * model.config.n_layer + layer) * 2 * kv_layer_bytes;
  }
  [[gnu::always_inline]] uint8_t *values(int32_t slot, int32_t layer) const {
    return keys(slot, layer) + kv_layer_bytes;
  }

  // Buffers of a forward pass.
  ink::AlignedBuffer activation_memory;
  float *x;       // [row][n_embd_padded]: the residual stream
  uint8_t *q;     // [row][head][head_size_padded]: scaled queries, at most 4 bytes per element: see attention.hpp
  float *y;       // [row][n_embd_padded]: the output of attention
  float *hidden;  // [row][n_inner_padded]: the hidden layer of the MLP
  ink::AlignedBuffer logits_memory;
  float *logits = nullptr;  // [output][logits_stride]
  size_t logits_rows = 0;
  int32_t logits_stride;
  ink::Workspace shared_workspace;
  std::vector<ink::Workspace> private_workspace_memory;
  ink::Workspace *private_workspaces;  // per worker
  std::vector<ink::QkvSlot> qkv_slot_memory;
  const ink::QkvSlot *qkv_slots;  // per output of c_attn
  std::vector<ink::SamplingBuffers> sampling_buffers;
  ink::AlignedBuffer saved_memory;  // allocated with the first edit of a sublayer's output
  float *saved = nullptr;           // [row][n_embd_padded]: the residual stream before a sublayer
  std::vector<uint8_t> edited;      // see Batch

  ink::Batch batch;  // written by worker 0 while the others wait at a barrier
};
