// y = x W + b for some rows and a range of output blocks. A tile of rows and blocks is computed at once, so that a weight
// that was loaded serves several rows; each output is summed over its inputs in order, however the tiles lie, so its
// bits do not depend on what is computed beside it.
#pragma once
#include "lanes.hpp"
#include "session.hpp"

namespace ink::INK_PATH {

#if defined(__AVX512F__)
constexpr int TILE_ROWS = 4, TILE_BLOCKS = 4;  // 16 of 32 registers are sums
#elif defined(__AVX2__)
constexpr int TILE_ROWS = 2, TILE_BLOCKS = 2;
#else
constexpr int TILE_ROWS = 2, TILE_BLOCKS = 1;
#endif
constexpr size_t AHEAD = 1536;  // bytes of each block to ask for before they are needed

// What each block's weights are asked for early: its own, and towards its end the beginning of the block that the same
// place of the next tile will read.
struct Ahead {
  size_t own_end;   // up to here in a block its own are asked for
  size_t distance;  // from there on
  INK_INLINE Ahead of(const Matrix &m, int blocks) {
    const size_t bytes = m.block_bytes();
    return {bytes > AHEAD ? bytes - AHEAD : 0, AHEAD + (size_t)(blocks - 1) * bytes};
  }
  [[gnu::always_inline]] size_t at(size_t place) const { return place < own_end ? AHEAD : distance; }
};

template <class T>
INK_INLINE T read(const uint8_t *from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

#define EACH_ROW _Pragma("GCC unroll 4") for (int r = 0; r < ROWS; r++)
#define EACH_BLOCK _Pragma("GCC unroll 4") for (int n = 0; n < BLOCKS; n++)

template <int ROWS, int BLOCKS>
void tile_fp32(const Matrix &m, const Activations &a, int32_t row, int32_t block, Floats (&out)[ROWS][BLOCKS]) {
  const uint8_t *w = m.weights + (size_t)block * m.block_bytes(), *x = a.rows + row * a.stride;
  const size_t next = m.block_bytes();
  const Ahead ahead = Ahead::of(m, BLOCKS);
  const uint8_t *const begin = w;
  EACH_ROW EACH_BLOCK out[r][n] = all(0.0f);
  for (int32_t k = 0; k < m.depth; k++, w += 64, x += 4) {
    Floats weights[BLOCKS];
    const uint8_t *soon = w + ahead.at((size_t)(w - begin));
    EACH_BLOCK {
      prefetch(soon + n * next);
      weights[n] = load((const float *)(w + n * next));
    }
    EACH_ROW {
      const Floats same = all(read<float>(x + r * a.stride));
      EACH_BLOCK out[r][n] = fma(weights[n], same, out[r][n]);
    }
  }
}

template <int ROWS, int BLOCKS>
void tile_bf16(const Matrix &m, const Activations &a, int32_t row, int32_t block, Floats (&out)[ROWS][BLOCKS]) {
  const uint8_t *w = m.weights + (size_t)block * m.block_bytes(), *x = a.rows + row * a.stride;
  const size_t next = m.block_bytes();
  const Ahead ahead = Ahead::of(m, BLOCKS);
  const uint8_t *const begin = w;
  EACH_ROW EACH_BLOCK out[r][n] = all(0.0f);
  for (int32_t k = 0; k < m.depth; k += 2, w += 64, x += 4) {
    const uint8_t *soon = w + ahead.at((size_t)(w - begin));
    EACH_BLOCK prefetch(soon + n * next);
    EACH_ROW {
      const uint32_t pair = read<uint32_t>(x + r * a.stride);
      EACH_BLOCK out[r][n] = dot2(out[r][n], (const uint16_t *)(w + n * next), pair);
    }
  }
}

// int8 and int4: exact sums of whole numbers within a group, then a float for each group.
template <int BITS, int ROWS, int BLOCKS>
void tile_int(const Matrix &m, const Activations &a, int32_t row, int32_t block, Floats (&out)[ROWS][BLOCKS]) {
  const uint8_t *w = m.weights + (size_t)block * m.block_bytes(), *x = a.rows + row * a.stride;
  const size_t next = m.block_bytes();
  const Ahead ahead = Ahead::of(m, BLOCKS);
  const uint8_t *const begin = w;
  constexpr int32_t STEP = BITS == 8 ? 4 : 8, OFFSET = BITS == 8 ? BIAS : 8;
  EACH_ROW EACH_BLOCK out[r][n] = all(0.0f);
  for (int32_t g = 0; g < m.groups; g++) {
    const int32_t from = g * m.group, end = from + m.group < m.depth ? from + m.group : m.depth;
    Ints total[ROWS][BLOCKS];
    EACH_ROW EACH_BLOCK total[r][n] = all((int32_t)0);
    for (int32_t k = from; k < end; k += STEP, w += 64, x += STEP) {
      Bytes weights[BLOCKS];
      const uint8_t *soon = w + ahead.at((size_t)(w - begin));
      EACH_BLOCK {
        prefetch(soon + n * next);
        weights[n] = load_weights(w + n * next);
      }
      if constexpr (BITS == 8) {
        EACH_ROW {
          const int32_t four = read<int32_t>(x + r * a.stride);
          EACH_BLOCK total[r][n] = dot4<8>(total[r][n], weights[n], four);
        }
      } else {
        EACH_ROW {
          const int32_t four = read<int32_t>(x + r * a.stride), more = read<int32_t>(x + r * a.stride + 4);
          EACH_BLOCK total[r][n] = dot4<4>(total[r][n], low_nibbles(weights[n]), four);
          EACH_BLOCK total[r][n] = dot4<4>(total[r][n], high_nibbles(weights[n]), more);
        }
      }
    }
    EACH_BLOCK {
      const Floats scale = load_bf16(m.scales + ((size_t)(block + n) * m.groups + g) * LANES);
      EACH_ROW {
        const Ints off = all((int32_t)(OFFSET * a.sums[(row + r) * a.sums_stride + from / 16 ]));
        out[r][n] = fma(to_floats(total[r][n] - off), scale, out[r][n]);
      }
    }
  }
  EACH_ROW {
    const Floats scale = all(a.scales[row + r]);
    EACH_BLOCK out[r][n] = out[r][n] * scale;
  }
}

// One tile, with the bias; not inlined, so that each is compiled once for all the places where it is stored.
template <int ROWS, int BLOCKS>
[[gnu::noinline]] static void tile(const Matrix &m, const Activations &a, int32_t row, int32_t block, Floats *to) {
  Floats out[ROWS][BLOCKS];
  switch (m.precision) {
    case INK_FP32: tile_fp32<ROWS, BLOCKS>(m, a, row, block, out); break;
    case INK_BF16: tile_bf16<ROWS, BLOCKS>(m, a, row, block, out); break;
    case INK_INT8: tile_int<8, ROWS, BLOCKS>(m, a, row, block, out); break;
    default: tile_int<4, ROWS, BLOCKS>(m, a, row, block, out);
  }
  EACH_BLOCK {
    const Floats bias = load(m.bias + (size_t)(block + n) * LANES);
    EACH_ROW to[r * BLOCKS + n] = out[r][n] + bias;
  }
}

template <int BLOCKS, class Store>
INK_INLINE void panel(const Matrix &m, const Activations &a, int32_t rows, int32_t block, const Store &store) {
  Floats out[TILE_ROWS * BLOCKS];
  for (int32_t row = 0; row < rows;) {
    const int32_t left = rows - row, count = left < TILE_ROWS ? left : TILE_ROWS;
    if (count == 1) tile<1, BLOCKS>(m, a, row, block, out);
    if (count == 2) tile<2, BLOCKS>(m, a, row, block, out);
    if constexpr (TILE_ROWS > 2) {
      if (count == 3) tile<3, BLOCKS>(m, a, row, block, out);
      if (count == 4) tile<4, BLOCKS>(m, a, row, block, out);
    }
    for (int32_t r = 0; r < count; r++)
      for (int32_t n = 0; n < BLOCKS; n++) store(row + r, block + n, out[r * BLOCKS + n]);
    row += count;
  }
}

// The first block of a member's share; that of the next member is its end.
INK_INLINE int32_t share(const Matrix &m, int id, int size) { return (int32_t)((int64_t)m.blocks * id / size); }

// Ask for the first weights of a member's share, before it waits for the others: they come meanwhile.
static void warm(const Matrix &m, int id, int size) {
  const size_t bytes = m.block_bytes();
  const uint8_t *w = m.weights + (size_t)share(m, id, size) * bytes;
  const int32_t blocks = share(m, id + 1, size) - share(m, id, size);
  for (int32_t n = 0; n < TILE_BLOCKS && n < blocks; n++)
    for (size_t at = 0; at < AHEAD && at < bytes; at += LINE) prefetch(w + n * bytes + at);
}

// The share of member `id` of `size`: store(row, block, sixteen outputs) for each row and each of its blocks.
template <class Store>
INK_INLINE void linear(const Matrix &m, const Activations &a, int32_t rows, int id, int size, const Store &store) {
  const int32_t end = share(m, id + 1, size);
  int32_t block = share(m, id, size);
  if constexpr (TILE_BLOCKS >= 4)
    for (; block + 4 <= end; block += 4) panel<4>(m, a, rows, block, store);
  if constexpr (TILE_BLOCKS >= 2)
    for (; block + 2 <= end; block += 2) panel<2>(m, a, rows, block, store);
  for (; block < end; block++) panel<1>(m, a, rows, block, store);
}

}  // namespace ink::INK_PATH
