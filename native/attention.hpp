// Attention of one head for a few consecutive rows of one sequence, over its cache. Each row is computed alone, from
// the first position to its own, in the same order whatever stands beside it; the rows only share what is loaded.
#pragma once
#include "lanes.hpp"
#include "linear.hpp"
#include "session.hpp"

namespace ink::INK_PATH {

// A cache's element, and what it takes to use it.
struct Full {
  using Element = float;
  static constexpr int UNITS = 1;  // units of a head that one load of keys brings for 16 positions
  INK_INLINE Floats dot(Floats acc, const float *keys, const float *query) { return fma(load(keys), all(*query), acc); }
  INK_INLINE Floats widen(const float *from) { return load(from); }
  INK_INLINE void narrow(float *to, Floats a) { store(to, a); }
};
struct Half {
  using Element = uint16_t;
  static constexpr int UNITS = 2;
  INK_INLINE Floats dot(Floats acc, const uint16_t *keys, const uint16_t *query) {
    uint32_t pair;
    __builtin_memcpy(&pair, query, sizeof pair);
    return dot2(acc, keys, pair);
  }
  INK_INLINE Floats widen(const uint16_t *from) { return load_bf16(from); }
  INK_INLINE void narrow(uint16_t *to, Floats a) { store_bf16(to, a); }
};

// Where the key of a position has its unit.
template <class Kind>
INK_INLINE size_t key_index(int32_t width, int32_t position, int32_t unit) {
  const size_t column = (size_t)(position / LANES) * width / Kind::UNITS + unit / Kind::UNITS;
  return (column * LANES + position % LANES) * Kind::UNITS + unit % Kind::UNITS;
}

// The rows' scores with BLOCKS times sixteen keys. Few rows take several blocks at once, or each sum would wait for
// itself. The values of the same positions are asked for meanwhile: they take as many lines as the keys.
template <class Kind, int ROWS, int BLOCKS>
static void some_scores(const typename Kind::Element *keys, const typename Kind::Element *values,
                        const typename Kind::Element *query, size_t query_stride, int32_t width, float *scores,
                        size_t stride) {
  Floats acc[ROWS][BLOCKS];
  EACH_ROW EACH_BLOCK acc[r][n] = all(0.0f);
  for (int32_t unit = 0; unit < width; unit += Kind::UNITS, keys += LANES * Kind::UNITS, values += LANES * Kind::UNITS) {
    EACH_BLOCK prefetch(values + (size_t)n * width * LANES);
    EACH_ROW EACH_BLOCK acc[r][n] = Kind::dot(acc[r][n], keys + (size_t)n * width * LANES, query + r * query_stride + unit);
  }
  EACH_ROW EACH_BLOCK store(scores + r * stride + n * LANES, acc[r][n]);
}

template <class Kind, int ROWS>
static void scores_of(const typename Kind::Element *keys, const typename Kind::Element *values,
                      const typename Kind::Element *query, size_t query_stride, int32_t width, int32_t blocks,
                      float *scores, size_t stride) {
  constexpr int TOGETHER = ROWS == 1 ? 4 : ROWS == 2 ? 2 : 1;
  int32_t block = 0;
  for (; block + TOGETHER <= blocks; block += TOGETHER)
    some_scores<Kind, ROWS, TOGETHER>(keys + (size_t)block * width * LANES, values + (size_t)block * width * LANES, query,
                                      query_stride, width, scores + (size_t)block * LANES, stride);
  for (; block < blocks; block++)
    some_scores<Kind, ROWS, 1>(keys + (size_t)block * width * LANES, values + (size_t)block * width * LANES, query,
                               query_stride, width, scores + (size_t)block * LANES, stride);
}

// A row's scores up to its position become weights that add up to one; what lies behind, up to `end`, becomes 0.
static void softmax(float *scores, int32_t position, int32_t end) {
  const Floats lowest = all(-3.0e38f);
  Floats highest = lowest;
  for (int32_t j = 0; j <= position; j += LANES)
    highest = maximum(highest, first(position + 1 - j, load(scores + j), lowest));
  const Floats top = all(largest(highest));
  Floats total = all(0.0f);
  for (int32_t j = 0; j < end; j += LANES) {
    const Floats e = first(position + 1 - j, exponential(load(scores + j) - top), all(0.0f));
    store(scores + j, e);
    total = total + e;
  }
  const Floats inverse = all(1.0f / sum(total));
  for (int32_t j = 0; j <= position; j += LANES) store(scores + j, load(scores + j) * inverse);
}

// Sixteen times VECTORS units of the rows' results.
template <class Kind, int ROWS, int VECTORS>
static void mix(const typename Kind::Element *values, int32_t width, int32_t positions, const float *scores, size_t stride,
                float *to, size_t to_stride) {
  Floats acc[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) acc[r][v] = all(0.0f);
  for (int32_t j = 0; j < positions; j++, values += width)
    for (int v = 0; v < VECTORS; v++) {
      const Floats value = Kind::widen(values + v * LANES);
      for (int r = 0; r < ROWS; r++) acc[r][v] = fma(all(scores[r * stride + j]), value, acc[r][v]);
    }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) store(to + r * to_stride + v * LANES, acc[r][v]);
}

template <class Kind, int ROWS>
static void attend(const ink_session &s, int32_t layer, const Tile &tile, int32_t head, float *scores) {
  using Element = typename Kind::Element;
  const ink_model &m = s.model;
  const Row &row = s.rows[tile.first];
  const int32_t width = m.head_width, last = row.position + ROWS - 1;
  const size_t of_head = (size_t)head * m.block_size * width, stride = m.block_size;
  const size_t query_stride = (size_t)m.config.n_head * width;
  const auto *query = (const Element *)s.q + tile.first * query_stride + (size_t)head * width;
  const int32_t blocks = last / LANES + 1, end = blocks * LANES;
  const auto *values = (const Element *)s.values(row.slot, layer) + of_head;
  scores_of<Kind, ROWS>((const Element *)s.keys(row.slot, layer) + of_head, values, query, query_stride, width, blocks,
                        scores, stride);
  for (int r = 0; r < ROWS; r++) softmax(scores + r * stride, row.position + r, end);

  // A head whose size is no multiple of 16 ends amid a vector: it is put down aside first.
  float *y = s.y + (size_t)tile.first * m.width + (size_t)head * m.head_size;
  const bool whole = m.head_size == width;
  float aside[ROWS * 4 * LANES];
  for (int32_t unit = 0; unit < width;) {
    const int vectors = width - unit >= 4 * LANES ? 4 : 1;
    float *to = whole ? y + unit : aside;
    const size_t to_stride = whole ? (size_t)m.width : 4 * LANES;
    if (vectors == 4)
      mix<Kind, ROWS, 4>(values + unit, width, last + 1, scores, stride, to, to_stride);
    else
      mix<Kind, ROWS, 1>(values + unit, width, last + 1, scores, stride, to, to_stride);
    if (!whole)
      for (int r = 0; r < ROWS; r++)
        for (int32_t i = 0; i < vectors * LANES && unit + i < m.head_size; i++)
          y[(size_t)r * m.width + unit + i] = aside[(size_t)r * 4 * LANES + i];
    unit += vectors * LANES;
  }
}

// The share of member `id`: every tile and head in turn.
template <class Kind>
static void attention(ink_session &s, int32_t layer, int id) {
  float *scores = s.own[id].scores;
  const int32_t heads = s.model.config.n_head, size = s.team.size();
  for (int32_t i = id; i < s.n_tiles * heads; i += size) {
    // Head by head through the tiles of a sequence, so that a head's keys and values stay near.
    const Tile &tile = s.tiles[i % s.n_tiles];
    const int32_t head = i / s.n_tiles;
    switch (tile.count) {
      case 1: attend<Kind, 1>(s, layer, tile, head, scores); break;
      case 2: attend<Kind, 2>(s, layer, tile, head, scores); break;
      case 3: attend<Kind, 3>(s, layer, tile, head, scores); break;
      default: attend<Kind, 4>(s, layer, tile, head, scores);
    }
  }
}

}  // namespace ink::INK_PATH
