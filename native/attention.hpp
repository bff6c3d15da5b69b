// Attention of one head, for a few consecutive rows of one sequence, over the KV cache. Every row is computed from the
// first position to its own in the same order, so its result does not depend on the other rows. The rows share the
// loaded keys and values.
#pragma once
#include "dot.hpp"
#include "linear.hpp"
#include "math.hpp"
#include "session.hpp"

namespace ink::INK_ISA {

// The element types of the KV cache and of the queries.
struct KvF32 {
  using Element = float;
  using Query = float;
  static constexpr int DIMS = 1;  // head dimensions that one load of the keys of 16 positions holds
  INK_INLINE f32x16 dot(f32x16 acc, const float *keys, const float *query) {
    return fma(load(keys), broadcast(*query), acc);
  }
  INK_INLINE f32x16 load_elements(const float *from) { return load(from); }
  INK_INLINE void store_elements(float *to, f32x16 a) { store(to, a); }
  INK_INLINE void store_query(float *to, f32x16 a) { store(to, a); }
};
struct KvBF16 {
  using Element = uint16_t;
  using Query = Bf16Input;
  static constexpr int DIMS = 2;
  INK_INLINE f32x16 dot(f32x16 acc, const uint16_t *keys, const Query *query) {
    return dot2(acc, load_pairs(keys), broadcast_inputs(query));
  }
  INK_INLINE f32x16 load_elements(const uint16_t *from) { return load_bf16(from); }
  INK_INLINE void store_elements(uint16_t *to, f32x16 a) { store_bf16(to, a); }
  INK_INLINE void store_query(Query *to, f32x16 a) { store_inputs_bf16((uint8_t *)to, a); }
};

// The index of one dimension of the key of a position.
template <class Kv>
INK_INLINE size_t key_index(int32_t head_size, int32_t position, int32_t dim) {
  const size_t column = (size_t)(position / LANES) * head_size / Kv::DIMS + dim / Kv::DIMS;
  return (column * LANES + position % LANES) * Kv::DIMS + dim % Kv::DIMS;
}

// The scores of ROWS queries for BLOCKS * 16 keys. The values of the same positions are prefetched; they take as many
// cache lines as the keys.
template <class Kv, int ROWS, int BLOCKS>
static void compute_block_scores(const typename Kv::Element *keys, const typename Kv::Element *values,
                                 const typename Kv::Query *query, size_t query_stride, int32_t head_size, float *scores,
                                 size_t stride) {
  f32x16 acc[ROWS][BLOCKS];
  FOR_EACH_ROW(r)
    FOR_EACH_BLOCK(n) acc[r][n] = broadcast(0.0f);
  for (int32_t d = 0; d < head_size; d += Kv::DIMS, keys += LANES * Kv::DIMS, values += LANES * Kv::DIMS) {
    FOR_EACH_BLOCK(n) prefetch(values + (size_t)n * head_size * LANES);
    FOR_EACH_ROW(r)
      FOR_EACH_BLOCK(n)
        acc[r][n] = Kv::dot(acc[r][n], keys + (size_t)n * head_size * LANES, query + r * query_stride + d);
  }
  FOR_EACH_ROW(r)
    FOR_EACH_BLOCK(n) store(scores + r * stride + n * LANES, acc[r][n]);
}

template <class Kv, int ROWS>
static void compute_scores(const typename Kv::Element *keys, const typename Kv::Element *values,
                           const typename Kv::Query *query, size_t query_stride, int32_t head_size, int32_t blocks,
                           float *scores, size_t stride) {
  constexpr int BLOCKS = ROWS == 1 ? 4 : ROWS == 2 ? 2 : 1;  // independent accumulators hide the latency of dot
  const size_t block_elements = (size_t)head_size * LANES;
  int32_t block = 0;
  for (; block + BLOCKS <= blocks; block += BLOCKS)
    compute_block_scores<Kv, ROWS, BLOCKS>(keys + block * block_elements, values + block * block_elements, query,
                                           query_stride, head_size, scores + (size_t)block * LANES, stride);
  for (; block < blocks; block++)
    compute_block_scores<Kv, ROWS, 1>(keys + block * block_elements, values + block * block_elements, query,
                                      query_stride, head_size, scores + (size_t)block * LANES, stride);
}

// In-place softmax over the scores up to `position`. The scores after it, up to `end`, become 0.
static void softmax(float *scores, int32_t position, int32_t end) {
  const f32x16 lowest = broadcast(-3.0e38f);
  f32x16 maxima = lowest;
  for (int32_t j = 0; j <= position; j += LANES)
    maxima = max(maxima, select_lanes(position + 1 - j, load(scores + j), lowest));
  const f32x16 max_score = broadcast(reduce_max(maxima));
  f32x16 total = broadcast(0.0f);
  for (int32_t j = 0; j < end; j += LANES) {
    const f32x16 e = select_lanes(position + 1 - j, exp(load(scores + j) - max_score), broadcast(0.0f));
    store(scores + j, e);
    total = total + e;
  }
  const f32x16 inverse = broadcast(1.0f / reduce_sum(total));
  for (int32_t j = 0; j <= position; j += LANES) store(scores + j, load(scores + j) * inverse);
}

// The vectors that weighted_sum computes together: as many as fit in the registers with all rows.
INK_INLINE constexpr int vectors_per_sum(int rows) {
#if defined(__AVX512F__)
  return 4;
#else
  return rows == 1 ? 4 / (REGISTERS / 2) : rows == 2 ? 2 / (REGISTERS / 2) : 1;
#endif
  (void)rows;
}

// The sum of the values, weighted by the scores, for VECTORS * 16 dimensions of ROWS rows.
template <class Kv, int ROWS, int VECTORS>
static void weighted_sum(const typename Kv::Element *values, int32_t head_size, int32_t positions, const float *scores,
                         size_t stride, float *to, size_t to_stride) {
  f32x16 acc[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) acc[r][v] = broadcast(0.0f);
  for (int32_t j = 0; j < positions; j++, values += head_size)
    for (int v = 0; v < VECTORS; v++) {
      const f32x16 value = Kv::load_elements(values + v * LANES);
      for (int r = 0; r < ROWS; r++) acc[r][v] = fma(broadcast(scores[r * stride + j]), value, acc[r][v]);
    }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) store(to + r * to_stride + v * LANES, acc[r][v]);
}

template <class Kv, int ROWS>
static void attend(const ink_session &s, int32_t layer, const Tile &tile, int32_t head, float *scores) {
  using Element = typename Kv::Element;
  const ink_model &m = s.model;
  const Row &row = s.batch.rows[tile.first_row];
  const int32_t head_size = m.head_size_padded, last = row.position + ROWS - 1;
  const size_t head_offset = (size_t)head * m.block_size_padded * head_size, stride = m.block_size_padded;
  const size_t query_stride = (size_t)m.config.n_head * head_size;
  const auto *query = (const typename Kv::Query *)s.q + tile.first_row * query_stride + (size_t)head * head_size;
  const int32_t blocks = last / LANES + 1, end = blocks * LANES;
  const auto *keys = (const Element *)s.keys(row.slot, layer) + head_offset;
  const auto *values = (const Element *)s.values(row.slot, layer) + head_offset;
  compute_scores<Kv, ROWS>(keys, values, query, query_stride, head_size, blocks, scores, stride);
  for (int r = 0; r < ROWS; r++) softmax(scores + r * stride, row.position + r, end);

  // If the head size is not a multiple of 16, the last vector of a head would overwrite the next head, so the result
  // goes through a buffer.
  float *y = s.y + (size_t)tile.first_row * m.n_embd_padded + (size_t)head * m.head_size;
  const bool aligned = m.head_size == head_size;
  constexpr int VECTORS = vectors_per_sum(ROWS);
  float buffer[ROWS * VECTORS * LANES];
  for (int32_t d = 0; d < head_size;) {
    const int vectors = head_size - d >= VECTORS * LANES ? VECTORS : 1;
    float *to = aligned ? y + d : buffer;
    const size_t to_stride = aligned ? (size_t)m.n_embd_padded : VECTORS * LANES;
    if (vectors == VECTORS)
      weighted_sum<Kv, ROWS, VECTORS>(values + d, head_size, last + 1, scores, stride, to, to_stride);
    else
      weighted_sum<Kv, ROWS, 1>(values + d, head_size, last + 1, scores, stride, to, to_stride);
    if (!aligned)
      for (int r = 0; r < ROWS; r++)
        for (int32_t i = 0; i < vectors * LANES && d + i < m.head_size; i++)
          y[(size_t)r * m.n_embd_padded + d + i] = buffer[(size_t)r * VECTORS * LANES + i];
    d += vectors * LANES;
  }
}

// The share of worker `id`: pairs of a head and a tile, in turn.
template <class Kv>
static void attention(ink_session &s, int32_t layer, int id) {
  float *scores = s.private_workspaces[id].scores;
  const Batch &batch = s.batch;
  const int32_t heads = s.model.config.n_head, size = s.team.size();
  for (int32_t i = id; i < batch.n_tiles * heads; i += size) {
    // The tiles are the inner loop, so that the keys and values of a head stay in the CPU cache.
    const Tile &tile = batch.tiles[i % batch.n_tiles];
    const int32_t head = i / batch.n_tiles;
    switch (tile.n_rows) {
      case 1: attend<Kv, 1>(s, layer, tile, head, scores); break;
      case 2: attend<Kv, 2>(s, layer, tile, head, scores); break;
      case 3: attend<Kv, 3>(s, layer, tile, head, scores); break;
      default: attend<Kv, 4>(s, layer, tile, head, scores);
    }
  }
}

}  // namespace ink::INK_ISA
