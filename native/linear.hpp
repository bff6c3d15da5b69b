// The matrix product y = x W + b. It is computed in tiles of several rows and output blocks, so that each loaded weight
// is used for several rows. Every output is summed over its inputs in order, so the result does not depend on the
// tiling.
#pragma once
#include "amx.hpp"
#include "dot.hpp"
#include "session.hpp"

namespace ink::INK_ISA {

// A tile has up to TILE_ROWS rows, and blocks_per_tile(rows) output blocks: enough independent sums to hide the latency
// of an addition, and few enough to keep all of them in registers.
#if defined(__AVX512F__)
constexpr int TILE_ROWS = 4;
INK_INLINE constexpr int blocks_per_tile(int32_t) { return 4; }  // accumulators take 16 of the 32 registers
#elif defined(__AVX2__)
constexpr int TILE_ROWS = 4;
INK_INLINE constexpr int blocks_per_tile(int32_t rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }  // 8 of 16
#elif defined(INK_NEON)
constexpr int TILE_ROWS = 4;
INK_INLINE constexpr int blocks_per_tile(int32_t rows) { return rows <= 2 ? 2 : 1; }  // at most 16 of 32
#else
constexpr int TILE_ROWS = 2;
INK_INLINE constexpr int blocks_per_tile(int32_t) { return 1; }
#endif
// How far ahead the weights of each block are prefetched, measured on a Zen 3 with AVX2 and on a Sapphire Rapids.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr size_t PREFETCH_BYTES = 512;
#else
constexpr size_t PREFETCH_BYTES = 1536;
#endif

// The prefetch distance within a block. Near the end of the block it skips to the corresponding block of the next tile.
struct PrefetchDistance {
  size_t own_end;  // up to this offset, the weights to prefetch belong to the same block
  size_t beyond;   // the distance from there on
  INK_INLINE PrefetchDistance of(const Matrix &m, int blocks) {
    const size_t bytes = m.block_bytes();
    return {bytes > PREFETCH_BYTES ? bytes - PREFETCH_BYTES : 0, PREFETCH_BYTES + (size_t)(blocks - 1) * bytes};
  }
  [[gnu::always_inline]] size_t at(size_t offset) const { return offset < own_end ? PREFETCH_BYTES : beyond; }
};

template <class T>
INK_INLINE T read(const uint8_t *from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

#define FOR_EACH_ROW(r) _Pragma("GCC unroll 4") for (int r = 0; r < ROWS; r++)
#define FOR_EACH_PART(p) _Pragma("GCC unroll 4") for (int p = 0; p < PARTS; p++)
#define FOR_EACH_BLOCK(n) _Pragma("GCC unroll 4") for (int n = 0; n < BLOCKS; n++)

template <int ROWS, int BLOCKS>
void tile_fp32(const Matrix &m, const Activations &a, int32_t row, int32_t block, f32x16 (&out)[ROWS][BLOCKS]) {
  const uint8_t *w = m.weights + (size_t)block * m.block_bytes(), *x = a.rows + row * a.stride;
  const size_t block_bytes = m.block_bytes();
  const PrefetchDistance distance = PrefetchDistance::of(m, BLOCKS);
  const uint8_t *const begin = w;
  FOR_EACH_ROW(r)
    FOR_EACH_BLOCK(n) out[r][n] = broadcast(0.0f);
  for (int32_t k = 0; k < m.inputs_padded; k++, w += 64, x += 4) {
    f32x16 weights[BLOCKS];
    const uint8_t *upcoming = w + distance.at((size_t)(w - begin));
    FOR_EACH_BLOCK(n) {
      prefetch(upcoming + n * block_bytes);
      weights[n] = load((const float *)(w + n * block_bytes));
    }
    FOR_EACH_ROW(r) {
      const f32x16 input = broadcast(read<float>(x + r * a.stride));
      FOR_EACH_BLOCK(n) out[r][n] = fma(weights[n], input, out[r][n]);
    }
  }
}

template <int ROWS, int BLOCKS>
void tile_bf16(const Matrix &m, const Activations &a, int32_t row, int32_t block, f32x16 (&out)[ROWS][BLOCKS]) {
  const uint8_t *w = m.weights + (size_t)block * m.block_bytes(), *x = a.rows + row * a.stride;
  const size_t block_bytes = m.block_bytes();
  const PrefetchDistance distance = PrefetchDistance::of(m, BLOCKS);
  const uint8_t *const begin = w;
  FOR_EACH_ROW(r)
    FOR_EACH_BLOCK(n) out[r][n] = broadcast(0.0f);
  for (int32_t k = 0; k < m.inputs_padded; k += 2, w += 64, x += 2 * input_bytes(INK_BF16)) {
    const uint8_t *upcoming = w + distance.at((size_t)(w - begin));
    bf16x32 weights[BLOCKS];
    FOR_EACH_BLOCK(n) {
      prefetch(upcoming + n * block_bytes);
      weights[n] = load_pairs((const uint16_t *)(w + n * block_bytes));
    }
    FOR_EACH_ROW(r) {
      const bf16x32 inputs = broadcast_inputs((const Bf16Input *)(x + r * a.stride));
      FOR_EACH_BLOCK(n) out[r][n] = dot2(out[r][n], weights[n], inputs);
    }
  }
}

// Add the products of one 64-byte load of int8 or int4 weights per block to the sums of ROWS rows. A load has several
// parts, such as the low and the high nibbles, which are multiplied one after the other.
#if defined(INK_HAS_DOT4)
// All blocks share the inputs of a row.
template <int BITS, int ROWS, int BLOCKS, class Sums>
INK_INLINE void add_products(Sums (&sums)[ROWS][BLOCKS], const uint8_t *w, size_t block_bytes, const uint8_t *x,
                             size_t stride) {
  constexpr int PARTS = parts(BITS);
  u8x64 weights[BLOCKS];
  FOR_EACH_BLOCK(n) weights[n] = load_u8(w + n * block_bytes);
  FOR_EACH_ROW(r)
    FOR_EACH_PART(p) {
      const i32_register inputs = broadcast_part(x + r * stride, p);
      FOR_EACH_BLOCK(n) sums[r][n] = multiply_add(sums[r][n], part<BITS>(weights[n], p), inputs);
    }
}
#else
// With sixteen registers, eight of which hold the sums, only one part of one block is kept in registers.
template <int BITS, int ROWS, int BLOCKS, class Sums>
INK_INLINE void add_products(Sums (&sums)[ROWS][BLOCKS], const uint8_t *w, size_t block_bytes, const uint8_t *x,
                             size_t stride) {
  constexpr int PARTS = parts(BITS);
  FOR_EACH_BLOCK(n) {
    const u8x64 loaded = load_u8(w + n * block_bytes);
    FOR_EACH_PART(p) {
      const u8x64 weights = part<BITS>(loaded, p);
      FOR_EACH_ROW(r) sums[r][n] = multiply_add(sums[r][n], weights, broadcast_part(x + r * stride, p));
    }
  }
}
#endif

// int8 and int4: exact integer sums within a group, then one float per group.
template <int BITS, int ROWS, int BLOCKS>
void tile_int(const Matrix &m, const Activations &a, int32_t row, int32_t block, f32x16 (&out)[ROWS][BLOCKS]) {
  const uint8_t *w = m.weights + (size_t)block * m.block_bytes(), *x = a.rows + row * a.stride;
  const size_t block_bytes = m.block_bytes();
  const PrefetchDistance distance = PrefetchDistance::of(m, BLOCKS);
  const uint8_t *const begin = w;
  constexpr int32_t INPUTS_PER_LOAD = BITS == 8 ? 4 : 8, BIAS = BITS == 8 ? INT8_BIAS : INT4_BIAS;
  constexpr size_t step = INPUTS_PER_LOAD * input_bytes(BITS == 8 ? INK_INT8 : INK_INT4);
  FOR_EACH_ROW(r)
    FOR_EACH_BLOCK(n) out[r][n] = broadcast(0.0f);
  for (int32_t g = 0; g < m.groups; g++) {
    const int32_t from = g * m.group_size, group_end = from + m.group_size;
    const int32_t end = group_end < m.inputs_padded ? group_end : m.inputs_padded;
    i32x16 total[ROWS][BLOCKS];
    FOR_EACH_ROW(r)
      FOR_EACH_BLOCK(n) total[r][n] = broadcast((int32_t)0);
    if constexpr (BITS == 8) {
      for (int32_t k = from; k < end; k += INPUTS_PER_LOAD, w += 64, x += step) {
        const uint8_t *upcoming = w + distance.at((size_t)(w - begin));
        FOR_EACH_BLOCK(n) prefetch(upcoming + n * block_bytes);
        add_products<8>(total, w, block_bytes, x, a.stride);
      }
    } else {
      for (int32_t k = from; k < end;) {
        const int32_t stop = k + NIBBLE_INPUTS < end ? k + NIBBLE_INPUTS : end;
        NibbleSums sums[ROWS][BLOCKS];
        FOR_EACH_ROW(r)
          FOR_EACH_BLOCK(n) sums[r][n] = zero_nibble_sums();
        for (; k < stop; k += INPUTS_PER_LOAD, w += 64, x += step) {
          const uint8_t *upcoming = w + distance.at((size_t)(w - begin));
          FOR_EACH_BLOCK(n) prefetch(upcoming + n * block_bytes);
          add_products<4>(sums, w, block_bytes, x, a.stride);
        }
        FOR_EACH_ROW(r)
          FOR_EACH_BLOCK(n) total[r][n] = total[r][n] + sums[r][n];
      }
    }
    FOR_EACH_BLOCK(n) {
      const f32x16 scale = load_bf16(m.scales + ((size_t)(block + n) * m.groups + g) * LANES);
      FOR_EACH_ROW(r) {
        const i32x16 bias = broadcast((int32_t)(BIAS * a.sums[(row + r) * a.sums_stride + from / LANES]));
        out[r][n] = fma(to_f32(total[r][n] - bias), scale, out[r][n]);
      }
    }
  }
  FOR_EACH_ROW(r) {
    const f32x16 scale = broadcast(a.scales[row + r]);
    FOR_EACH_BLOCK(n) out[r][n] = out[r][n] * scale;
  }
}

// One tile including the bias. Not inlined, so that it is compiled once for all callers of panel.
template <int ROWS, int BLOCKS>
[[gnu::noinline]] static void compute_tile(const Matrix &m, const Activations &a, int32_t row, int32_t block,
                                           f32x16 *to) {
  f32x16 out[ROWS][BLOCKS];
  switch (m.precision) {
    case INK_FP32: tile_fp32<ROWS, BLOCKS>(m, a, row, block, out); break;
    case INK_BF16: tile_bf16<ROWS, BLOCKS>(m, a, row, block, out); break;
    case INK_INT8: tile_int<8, ROWS, BLOCKS>(m, a, row, block, out); break;
    default: tile_int<4, ROWS, BLOCKS>(m, a, row, block, out);
  }
  FOR_EACH_BLOCK(n) {
    const f32x16 bias = load(m.bias + (size_t)(block + n) * LANES);
    FOR_EACH_ROW(r) to[r * BLOCKS + n] = out[r][n] + bias;
  }
}

// All rows of BLOCKS adjacent output blocks.
template <int BLOCKS, class Store>
INK_INLINE void panel(const Matrix &m, const Activations &a, int32_t rows, int32_t block, const Store &store) {
  f32x16 out[TILE_ROWS * BLOCKS];
  for (int32_t row = 0; row < rows;) {
    const int32_t remaining = rows - row, count = remaining < TILE_ROWS ? remaining : TILE_ROWS;
    if (count == 1) compute_tile<1, BLOCKS>(m, a, row, block, out);
    if constexpr (blocks_per_tile(2) >= BLOCKS)
      if (count == 2) compute_tile<2, BLOCKS>(m, a, row, block, out);
    if constexpr (TILE_ROWS > 2 && blocks_per_tile(3) >= BLOCKS) {
      if (count == 3) compute_tile<3, BLOCKS>(m, a, row, block, out);
      if (count == 4) compute_tile<4, BLOCKS>(m, a, row, block, out);
    }
    for (int32_t r = 0; r < count; r++)
      for (int32_t n = 0; n < BLOCKS; n++) store(row + r, block + n, out[r * BLOCKS + n]);
    row += count;
  }
}

// The first output block of worker `id`; its last is before the first of worker `id + 1`.
INK_INLINE int32_t first_block(const Matrix &m, int id, int size) { return (int32_t)((int64_t)m.blocks * id / size); }

// Prefetch the first weights of a worker's blocks before it waits at a barrier.
static void prefetch_weights(const Matrix &m, int id, int size) {
  const size_t bytes = m.block_bytes();
  const uint8_t *w = m.weights + (size_t)first_block(m, id, size) * bytes;
  const int32_t blocks = first_block(m, id + 1, size) - first_block(m, id, size);
  for (int32_t n = 0; n < blocks_per_tile(1) && n < blocks; n++)
    for (size_t at = 0; at < PREFETCH_BYTES && at < bytes; at += CACHE_LINE) prefetch(w + n * bytes + at);
}

// The blocks of worker `id` of `size`. Calls store(row, block, sixteen outputs) for every row and block. `unpacked` is
// the worker's buffer for two blocks of weights as bytes.
template <class Store>
INK_INLINE void linear(const Matrix &m, const Activations &a, int32_t rows, int id, int size, uint8_t *unpacked,
                       const Store &store) {
  const int32_t end = first_block(m, id + 1, size);
  int32_t block = first_block(m, id, size);
#if defined(__AMX_INT8__)
  if (use_amx(m, rows)) return linear_amx(m, a, rows, block, end, unpacked, store);
#endif
  (void)unpacked;
  if constexpr (blocks_per_tile(1) >= 4)
    for (; blocks_per_tile(rows) >= 4 && block + 4 <= end; block += 4) panel<4>(m, a, rows, block, store);
  if constexpr (blocks_per_tile(1) >= 2)
    for (; blocks_per_tile(rows) >= 2 && block + 2 <= end; block += 2) panel<2>(m, a, rows, block, store);
  for (; block < end; block++) panel<1>(m, a, rows, block, store);
}

}  // namespace ink::INK_ISA
