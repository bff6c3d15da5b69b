// A packed model: one block of memory, written once by pack() and then shared read-only by all threads.
//
// Functions that the ISA-specific code calls from this header must be always_inline: see simd.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

#include "inkhorn.h"
#include "memory.hpp"

namespace ink {

constexpr int LANES = 16;  // outputs per block of a matrix; lanes of a vector in simd.hpp

inline int32_t round_up(int32_t n, int32_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A linear layer y = x W + b. The outputs are split into blocks of 16. A block stores, for input k and output n:
//   fp32  float  [k][n]
//   bf16  uint16 [k / 2][n][k % 2]
//   int8  uint8  [k / 4][n][k % 4]: the quantized weight plus 128
//   int4  uint8  [k / 8][n][k % 4]: the quantized weight plus 8, in the low nibble for k % 8 < 4, else in the high one
// so that one load of 64 bytes feeds one instruction. The inputs are padded with zeros to a multiple of 16.
struct Matrix {
  int32_t inputs, outputs;
  int32_t inputs_padded;
  int32_t blocks;      // of 16 outputs
  int32_t precision;   // enum ink_precision
  int32_t group_size;  // inputs that share a scale; the last group may be shorter
  int32_t groups;
  uint8_t *weights;
  uint16_t *scales;  // bfloat16 [block][group][16]
  float *bias;       // [16 * blocks]

  [[gnu::always_inline]] size_t block_bytes() const {
    constexpr size_t bits[] = {32, 16, 8, 4};
    return (size_t)inputs_padded * LANES * bits[precision] / 8;
  }
};

struct LayerNorm {
  float *weight, *bias;  // [n_embd_padded], zero in the padding
};

struct Layer {
  LayerNorm ln_1, ln_2;
  Matrix c_attn, attn_c_proj, c_fc, mlp_c_proj;
};

// The first bytes of a packed model.
struct PackedHeader {
  char magic[8];
  int32_t abi;
  ink_config config;
};
constexpr char PACKED_MAGIC[8] = {'I', 'N', 'K', 'H', 'O', 'R', 'N', 0};

}  // namespace ink

// The padded sizes are multiples of 16. n_embd_padded and n_inner_padded are the strides of the activations.
struct ink_model {
  ink_config config;
  int32_t n_embd_padded, n_inner_padded, block_size_padded;
  int32_t head_size;  // n_embd / n_head
  int32_t head_size_padded;
  void *wte, *wpe;  // [row][n_embd]: float in fp32, else bfloat16
  ink::LayerNorm ln_f;
  ink::Matrix lm_head;
  ink::Layer *layers;
};

namespace ink {

// Set the sizes of a model and the addresses of its tensors in a block of memory; returns the size of the block. `base`
// may be null to compute only the size, and so may `model`. `model->layers` must hold n_layer elements.
size_t layout_model(const ink_config &config, uint8_t *base, ink_model *model);

// Returns whether a configuration is valid; if not, stores the error message.
bool validate_config(const ink_config &config);

// Open a packed model; returns an ink_status. The caller owns *model and closes it with close_model.
int open_model(const ink_config &config, const void *packed, size_t bytes, ink_model **model);
void close_model(ink_model *model);

}  // namespace ink
