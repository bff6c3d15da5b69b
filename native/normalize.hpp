// Layer norm, and the conversion of rows to bfloat16 or int8 for a matrix product.
#pragma once
#include "dot.hpp"

namespace ink::INK_ISA {

// Layer norm of `n` values, padded with zeros to `n_padded`.
static void layer_norm(const float *x, const LayerNorm &norm, int32_t n, int32_t n_padded, float epsilon, float *to) {
  f32x16 total = broadcast(0.0f);
  for (int32_t i = 0; i < n_padded; i += LANES) total = total + load(x + i);
  const f32x16 mean = broadcast(reduce_sum(total) / (float)n);
  f32x16 squares = broadcast(0.0f);
  for (int32_t i = 0; i < n_padded; i += LANES) {
    const f32x16 difference = select_lanes(n - i, load(x + i) - mean, broadcast(0.0f));
    squares = fma(difference, difference, squares);
  }
  const f32x16 inverse = broadcast(1.0f / __builtin_sqrtf(reduce_sum(squares) / (float)n + epsilon));
  for (int32_t i = 0; i < n_padded; i += LANES)
    store(to + i, fma((load(x + i) - mean) * inverse, load(norm.weight + i), load(norm.bias + i)));
}

static void convert_to_bf16(const float *x, int32_t n, uint8_t *to) {
  for (int32_t i = 0; i < n; i += LANES, to += LANES * input_bytes(INK_BF16)) store_inputs_bf16(to, load(x + i));
}

// Quantize a row to integers from -127 to 127; returns the scale. sums[i / 16] becomes the sum of the integers of the
// group that starts at input i. BITS is the width of the weights that the integers are multiplied by.
template <int BITS>
static float quantize_int8(const float *x, int32_t n, int32_t group_size, uint8_t *to, int32_t *sums) {
  constexpr size_t step = LANES * input_bytes(BITS == 8 ? INK_INT8 : INK_INT4);
  f32x16 maxima = broadcast(0.0f);
  for (int32_t i = 0; i < n; i += LANES) maxima = max(maxima, abs(load(x + i)));
  const float largest = reduce_max(maxima);
  const f32x16 inverse = broadcast(largest > 1e-30f ? 127.0f / largest : 0.0f);
  for (int32_t from = 0; from < n; from += group_size) {
    const int32_t end = from + group_size < n ? from + group_size : n;
    i32x16 total = broadcast((int32_t)0);
    for (int32_t i = from; i < end; i += LANES, to += step) {
      const i32x16 quantized = to_i32(round(load(x + i) * inverse));
      total = total + quantized;
      store_inputs_int<BITS>(to, quantized);
    }
    sums[from / LANES] = reduce_sum(total);
  }
  return largest / 127.0f;
}

}  // namespace ink::INK_ISA
