// Products of many rows with int8 or int4 weights on AMX: a tile instruction multiplies sixteen rows of 64 inputs by 64
// inputs of sixteen outputs. A block of packed int8 weights has the layout that the instruction needs. The sums are
// exact, so the results equal those of linear.hpp bit for bit. bfloat16 is not computed on AMX: its tile instruction
// adds in another order than the AVX-512 one, and results must not depend on the number of rows.
#pragma once
#if defined(__AMX_INT8__)
#include "dot.hpp"
#include "session.hpp"

namespace ink::INK_ISA {

constexpr int32_t TILE_SIZE = 16;    // rows and outputs of a tile
constexpr int32_t TILE_INPUTS = 64;  // inputs of a tile

// Fewer rows are faster on AVX-512; int4 weights must be expanded first.
INK_INLINE bool use_amx(const Matrix &m, int32_t rows) {
  const int32_t min_rows = m.precision == INK_INT8 ? 5 : 12;
  return rows >= min_rows && m.precision >= INK_INT8 && m.inputs_padded % TILE_INPUTS == 0 &&
         (m.groups == 1 || m.group_size % TILE_INPUTS == 0);
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Expand a block of int4 weights to bytes in the int8 layout.
static void unpack_nibbles(const uint8_t *from, int32_t inputs, uint8_t *to) {
  for (int32_t k = 0; k < inputs; k += 8, from += 64, to += 128) {
    const u8x64 packed = load_u8(from);
    _mm512_storeu_si512(to, low_nibbles(packed).reg[0]);
    _mm512_storeu_si512(to + 64, high_nibbles(packed).reg[0]);
  }
}

// Up to ROW_TILES * 16 rows of BLOCKS adjacent output blocks, whose weights are given as bytes.
template <int ROW_TILES, int BLOCKS, class Store>
static void compute_amx_tiles(const Matrix &m, const Activations &a, int32_t row, int32_t row_count, int32_t block,
                              const uint8_t *const (&weights)[2], const Store &store) {
  alignas(64) int32_t totals[ROW_TILES][BLOCKS][TILE_SIZE * TILE_SIZE];
  alignas(64) float out[ROW_TILES * TILE_SIZE][BLOCKS][LANES];
  const uint8_t *x = a.rows + (size_t)row * a.stride, *x_second = x + TILE_SIZE * a.stride;
  const int32_t bias_factor = m.precision == INK_INT8 ? INT8_BIAS : INT4_BIAS;
  for (int32_t g = 0; g < m.groups; g++) {
    const int32_t from = g * m.group_size, group_end = from + m.group_size;
    const int32_t end = group_end < m.inputs_padded ? group_end : m.inputs_padded;
    _tile_zero(0);
    if constexpr (BLOCKS == 2) _tile_zero(1);
    if constexpr (ROW_TILES == 2) _tile_zero(2);
    if constexpr (ROW_TILES == 2 && BLOCKS == 2) _tile_zero(3);
    for (int32_t k = from; k < end; k += TILE_INPUTS) {
      const size_t at = (size_t)k * LANES;
      _tile_loadd(4, x + k, a.stride);
      _tile_loadd(6, weights[0] + at, 64);
      _tile_dpbsud(0, 4, 6);
      if constexpr (BLOCKS == 2) {
        _tile_loadd(7, weights[1] + at, 64);
        _tile_dpbsud(1, 4, 7);
      }
      if constexpr (ROW_TILES == 2) {
        _tile_loadd(5, x_second + k, a.stride);
        _tile_dpbsud(2, 5, 6);
        if constexpr (BLOCKS == 2) _tile_dpbsud(3, 5, 7);
      }
    }
    _tile_stored(0, totals[0][0], 64);
    if constexpr (BLOCKS == 2) _tile_stored(1, totals[0][1], 64);
    if constexpr (ROW_TILES == 2) _tile_stored(2, totals[1][0], 64);
    if constexpr (ROW_TILES == 2 && BLOCKS == 2) _tile_stored(3, totals[1][1], 64);
    for (int n = 0; n < BLOCKS; n++) {
      const f32x16 scale = load_bf16(m.scales + ((size_t)(block + n) * m.groups + g) * LANES);
      for (int32_t r = 0; r < row_count; r++) {
        const i32x16 bias = broadcast((int32_t)(bias_factor * a.sums[(row + r) * a.sums_stride + from / LANES]));
        const i32x16 total = load(totals[r / TILE_SIZE][n] + r % TILE_SIZE * TILE_SIZE);
        const f32x16 before = g == 0 ? broadcast(0.0f) : load(out[r][n]);
        ink::INK_ISA::store(out[r][n], fma(to_f32(total - bias), scale, before));
      }
    }
  }
  for (int n = 0; n < BLOCKS; n++) {
    const f32x16 bias = load(m.bias + (size_t)(block + n) * LANES);
    for (int32_t r = 0; r < row_count; r++)
      store(row + r, block + n, load(out[r][n]) * broadcast(a.scales[row + r]) + bias);
  }
}

template <int BLOCKS, class Store>
static void amx_panel(const Matrix &m, const Activations &a, int32_t rows, int32_t block, uint8_t *unpacked,
                      const Store &store) {
  const uint8_t *weights[2];
  const size_t block_size = (size_t)m.inputs_padded * LANES;
  for (int n = 0; n < BLOCKS; n++) {
    weights[n] = m.weights + (size_t)(block + n) * m.block_bytes();
    if (m.precision == INK_INT4) {
      unpack_nibbles(weights[n], m.inputs_padded, unpacked + n * block_size);
      weights[n] = unpacked + n * block_size;
    }
  }
  asm volatile("" ::: "memory");  // GCC's tile loads do not tell the compiler that they read memory
  for (int32_t row = 0; row < rows; row += 2 * TILE_SIZE) {
    const int32_t count = rows - row;
    if (count > TILE_SIZE)
      compute_amx_tiles<2, BLOCKS>(m, a, row, count < 2 * TILE_SIZE ? count : 2 * TILE_SIZE, block, weights, store);
    else
      compute_amx_tiles<1, BLOCKS>(m, a, row, count, block, weights, store);
  }
}

// The blocks from `block` to `end`. `unpacked` holds two blocks of weights as bytes. Tiles always read sixteen rows, so
// the memory of the rows must extend to a multiple of sixteen.
template <class Store>
static void linear_amx(const Matrix &m, const Activations &a, int32_t rows, int32_t block, int32_t end,
                       uint8_t *unpacked, const Store &store) {
  const TileConfig config;
  _tile_loadconfig(&config);
  for (; block + 2 <= end; block += 2) amx_panel<2>(m, a, rows, block, unpacked, store);
  if (block < end) amx_panel<1>(m, a, rows, block, unpacked, store);
  _tile_release();
}

}  // namespace ink::INK_ISA
#endif
