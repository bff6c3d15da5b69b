// A model at work: the caches, the buffers of a step, and what the step is to do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "inkhorn.h"
#include "model.hpp"
#include "sampling.hpp"
#include "team.hpp"

namespace ink {

constexpr int32_t MAX_ROWS = 256;     // tokens that go through the layers together
constexpr int32_t MAX_TILE = 4;       // rows of one sequence that attention takes together
constexpr int32_t PRIVATE_ROWS = 2;   // up to so many rows, each thread normalises all of them itself: no meeting

// Memory that starts on a cache line, zero at first; pages that are never touched take no memory.
struct FreeBlock {
  void operator()(void *block) const;
};
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes);  // throws std::bad_alloc
  template <class T>
  T *as() const {
    return (T *)aligned_;
  }

 private:
  std::unique_ptr<void, FreeBlock> block_;
  void *aligned_ = nullptr;
};

// One token on its way through the layers.
struct Row {
  int32_t slot, position, token;
  int32_t item;
  int32_t output;  // which of its item's outputs, or -1
};

// Consecutive rows of one sequence.
struct Tile {
  int32_t first, count;
};

// Where an output of c_attn goes: query, key or value; which head; which of its units.
struct Place {
  int32_t section, head, unit;
};

// Rows made ready for a product.
struct Activations {
  const uint8_t *rows;
  size_t stride;         // bytes
  const float *scales;   // one for each row, int8
  const int32_t *sums;   // of the whole numbers of each group, int8
  int32_t sums_stride;
};

// Where rows are normalised and made ready: one for all, and one for each thread.
struct Workspace {
  float *normed;    // [rows][width]
  uint8_t *encoded; // [rows][the widest input]
  float *scales;    // [rows]
  int32_t *sums;    // [rows][groups]
  float *scores;    // [MAX_TILE][block_size], of each thread
  Memory memory;
};

}  // namespace ink

struct ink_session {
  ink_session(const ink_model &model, int32_t slots, int threads);

  const ink_model &model;
  const int32_t slots;
  ink::Team team;

  // Caches: [slot][layer]{keys, values}[head][...], floats in fp32, else bfloat16.
  //   keys    fp32 [position / 16][unit][position % 16], bfloat16 [position / 16][unit / 2][position % 16][unit % 2]
  //   values  [position][unit]
  ink::Memory cache_memory;
  uint8_t *caches;
  size_t part_bytes;  // of the keys, or the values, of one layer
  [[gnu::always_inline]] uint8_t *keys(int32_t slot, int32_t layer) const {
    return caches + ((size_t)slot * model.config.n_layer + layer) * 2 * part_bytes;
  }
  [[gnu::always_inline]] uint8_t *values(int32_t slot, int32_t layer) const { return keys(slot, layer) + part_bytes; }

  // Buffers of one pass through the layers.
  ink::Memory buffers;
  float *x;       // [row][width]: the residual stream
  uint8_t *q;     // [row][head][head_width]: queries, scaled; as the caches are kept
  float *y;       // [row][width]: what attention gives
  float *hidden;  // [row][inner]
  ink::Memory logits_memory;
  float *logits = nullptr;  // [output][logits_stride]
  size_t logits_rows = 0;
  int32_t logits_stride;
  ink::Workspace shared;
  std::vector<ink::Workspace> own_memory;
  ink::Workspace *own;
  std::vector<ink::Place> places_memory;
  const ink::Place *places;  // of every output of c_attn
  std::vector<ink::Scratch> sampling;

  // This pass: set by member 0 while the others wait. Plain arrays, for the instruction paths read them.
  ink::Row rows[ink::MAX_ROWS];
  ink::Tile tiles[ink::MAX_ROWS];
  int32_t outputs[ink::MAX_ROWS];  // rows after which something is wanted
  int32_t n_rows = 0, n_tiles = 0, n_outputs = 0;
};

namespace ink {

// One pass of the session's rows through the layers, by member `id` of its team: from tokens to logits.
using Forward = void (*)(ink_session &session, int id);
Forward chosen_path();

}  // namespace ink
