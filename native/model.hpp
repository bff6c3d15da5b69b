// A model in memory: one block, packed once, that every thread reads and nobody writes.
//
// What the instruction paths call from here is always inlined: see lanes.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

#include "inkhorn.h"

namespace ink {

constexpr int LANE_COUNT = 16;
constexpr size_t LINE = 64;  // bytes in a cache line; everything starts on one

inline int32_t round_up(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

// A matrix y = x W + b, its outputs in blocks of 16. What a block holds, for input k and output n within it:
//   fp32  float    [k][n]
//   bf16  uint16   [k / 2][n][k % 2]
//   int8  uint8    [k / 4][n][k % 4], the weight in its scale's units with 128 added
//   int4  uint8    [k / 8][n][k % 4], the lower half of a byte for k % 8 < 4, the upper for the others; 8 added
// so that one load of 64 bytes feeds one instruction. Inputs are padded with zeros to a multiple of 16.
struct Matrix {
  int32_t inputs, outputs;
  int32_t depth;      // inputs with padding
  int32_t blocks;     // of 16 outputs
  int32_t precision;  // enum ink_precision
  int32_t group;      // inputs that share a scale; the last group may be shorter
  int32_t groups;
  uint8_t *weights;
  uint16_t *scales;  // bfloat16 [block][group][16]
  float *bias;       // [16 * blocks]

  [[gnu::always_inline]] size_t block_bytes() const {
    constexpr size_t bits[] = {32, 16, 8, 4};
    return (size_t)depth * LANE_COUNT * bits[precision] / 8;
  }
};

struct Norm {
  float *weight, *bias;  // [width], the padding 0
};

struct Layer {
  Norm ln_1, ln_2;
  Matrix c_attn, attn_c_proj, c_fc, mlp_c_proj;
};

struct Header {
  char magic[8];
  int32_t abi;
  ink_config config;
};

}  // namespace ink

struct ink_model {
  ink_config config;
  int32_t width;      // n_embd with padding, the stride of every row of it
  int32_t inner;      // n_inner with padding
  int32_t head_size;  // n_embd / n_head
  int32_t head_width; // with padding
  int32_t block_size; // with padding
  void *wte, *wpe;    // rows of n_embd: float in fp32, else bfloat16
  ink::Norm ln_f;
  ink::Matrix head;
  ink::Layer *layers;
};

namespace ink {

// Lay out a model over a block of memory; returns its size. `base` may be null to learn the size alone. `model->layers`
// must have room for n_layer.
size_t lay_out(const ink_config &config, uint8_t *base, ink_model *model);

// Whether a shape can be; if not, why, for ink_message.
bool valid(const ink_config &config);

// Remember what went wrong for ink_message; returns `status`.
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace ink
