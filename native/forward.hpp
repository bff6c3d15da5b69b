// One pass through the model: the same lines as runtime/reference.py, told to a team of threads. Every member works out
// its own columns of each product; they meet where one needs what another has written.
#pragma once
#include "attention.hpp"
#include "lanes.hpp"
#include "linear.hpp"
#include "session.hpp"

namespace ink::INK_PATH {

// GELU, the tanh form: x times the logistic of twice the tanh's argument.
INK_INLINE Floats gelu_new(Floats x) {
  const Floats inner = x * fma(x * x, all(0.035677408f), all(0.79788456f));
  return x / (all(1.0f) + exponential(all(-2.0f) * inner));
}
// GELU, the exact form, with erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
INK_INLINE Floats gelu(Floats x) {
  const Floats z = absolute(x) * all(0.70710678f), t = all(1.0f) / fma(all(0.3275911f), z, all(1.0f));
  Floats poly = fma(t, all(1.061405429f), all(-1.453152027f));
  poly = fma(t, poly, all(1.421413741f));
  poly = fma(t, poly, all(-0.284496736f));
  poly = t * fma(t, poly, all(0.254829592f));
  const Floats tail = poly * exponential(all(0.0f) - z * z);  // 1 - erf(z)
  // 0.5 x (1 + erf(x / sqrt 2)), for either sign of x
  const Floats half = all(0.5f) * x, size = absolute(half);
  return half + size - size * tail;
}
INK_INLINE Floats relu(Floats x) { return maximum(x, all(0.0f)); }

// A row of `count` numbers, padded to `width`, to mean 0 and variance 1, then gain and bias.
static void layer_norm(const float *x, const Norm &norm, int32_t count, int32_t width, float epsilon, float *to) {
  Floats total = all(0.0f);
  for (int32_t i = 0; i < width; i += LANES) total = total + load(x + i);  // the padding is 0
  const Floats mean = all(sum(total) / (float)count);
  Floats squares = all(0.0f);
  for (int32_t i = 0; i < width; i += LANES) {
    const Floats off = first(count - i, load(x + i) - mean, all(0.0f));
    squares = fma(off, off, squares);
  }
  const Floats inverse = all(1.0f / __builtin_sqrtf(sum(squares) / (float)count + epsilon));
  for (int32_t i = 0; i < width; i += LANES)
    store(to + i, fma((load(x + i) - mean) * inverse, load(norm.weight + i), load(norm.bias + i)));
}

// A row as bfloat16.
static void encode_bf16(const float *x, int32_t depth, uint16_t *to) {
  for (int32_t i = 0; i < depth; i += LANES) store_bf16(to + i, load(x + i));
}

// A row as whole numbers within +-127 times a scale, and the sum of each 16 of them added up to the end of its group.
static float encode_int8(const float *x, int32_t depth, int32_t group, int8_t *to, int32_t *sums) {
  Floats highest = all(0.0f);
  for (int32_t i = 0; i < depth; i += LANES) highest = maximum(highest, absolute(load(x + i)));
  const float most = largest(highest);
  const Floats inverse = all(most > 1e-30f ? 127.0f / most : 0.0f);
  for (int32_t from = 0; from < depth; from += group) {
    const int32_t end = from + group < depth ? from + group : depth;
    Ints total = all((int32_t)0);
    for (int32_t i = from; i < end; i += LANES) {
      const Ints whole = to_ints(nearest(load(x + i) * inverse));
      EACH_PART total.part[p] += whole.part[p];
      store_bytes(to + i, whole);
    }
    sums[from / LANES] = sum(total);
  }
  return most / 127.0f;
}

// A member of the team at work on one pass.
template <class Kind>
struct Member {
  ink_session &s;
  const ink_model &m;
  const int id, size;
  const int32_t rows;

  // Rows split among the members, or, when there are few, done by each for itself.
  bool alone(int32_t count) const { return count <= PRIVATE_ROWS; }
  Workspace &workspace(int32_t count) const { return alone(count) ? s.own[id] : s.shared; }

  // Wait for the others; the weights of what comes next are asked for first.
  void meet_before(const Matrix &next) {
    warm(next, id, size);
    s.team.meet();
  }

  // Make rows of `source` ready for a product with `matrix`, normalised first if `norm` is given. `pick` names the rows,
  // if not all.
  Activations prepare(const float *source, const Matrix &matrix, const Norm *norm, int32_t count, const int32_t *pick) {
    Workspace &to = workspace(count);
    const int32_t depth = matrix.depth, step = alone(count) ? 1 : size;
    const bool encode = matrix.precision != INK_FP32;
    const size_t stride = (size_t)depth * (matrix.precision == INK_BF16 ? 2 : 1);
    const int32_t sums_stride = depth / LANES;
    for (int32_t r = alone(count) ? 0 : id; r < count; r += step) {
      const float *row = source + (size_t)(pick == nullptr ? r : pick[r]) * depth;
      if (norm != nullptr) {
        float *normed = to.normed + (size_t)r * depth;
        layer_norm(row, *norm, m.config.n_embd, depth, m.config.layer_norm_epsilon, normed);
        row = normed;
      }
      if (!encode) continue;
      uint8_t *encoded = to.encoded + (size_t)r * stride;
      if (matrix.precision == INK_BF16)
        encode_bf16(row, depth, (uint16_t *)encoded);
      else
        to.scales[r] = encode_int8(row, depth, matrix.group, (int8_t *)encoded, to.sums + (size_t)r * sums_stride);
    }
    if (!alone(count) && (encode || norm != nullptr)) s.team.meet();
    if (encode) return {to.encoded, stride, to.scales, to.sums, sums_stride};
    return {(const uint8_t *)(norm != nullptr ? to.normed : source), (size_t)depth * 4, nullptr, nullptr, 0};
  }

  // Tokens to rows of the residual stream.
  void embed() {
    using Element = typename Kind::Element;
    const int32_t width = m.config.n_embd;
    for (int32_t r = id; r < rows; r += size) {
      const Row &row = s.rows[r];
      const auto *token = (const Element *)m.wte + (size_t)row.token * width;
      const auto *place = (const Element *)m.wpe + (size_t)row.position * width;
      float *x = s.x + (size_t)r * m.width;
      int32_t i = 0;
      for (; i + LANES <= width; i += LANES) store(x + i, Kind::widen(token + i) + Kind::widen(place + i));
      for (; i < width; i++) x[i] = one(token[i]) + one(place[i]);
    }
    meet_before(m.layers[0].c_attn);
  }
  static float one(float x) { return x; }
  static float one(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    __builtin_memcpy(&x, &wide, 4);
    return x;
  }

  // Sixteen outputs of c_attn to where they belong: queries aside, keys and values into the cache.
  void place(int32_t layer, int32_t r, int32_t block, Floats out) {
    using Element = typename Kind::Element;
    const Row &row = s.rows[r];
    const Floats scale = all(1.0f / __builtin_sqrtf((float)m.head_size));
    const int32_t width = m.head_width, column = block * LANES, columns = 3 * m.config.n_embd;
    const bool whole = m.head_size == width;  // then the sixteen lie side by side in one head
    Element narrow[LANES], scaled[LANES];
    Kind::narrow(narrow, out);
    Kind::narrow(scaled, out * scale);
    for (int32_t i = 0; i < LANES && column + i < columns; i++) {
      const Place &at = s.places[column + i];
      const size_t head = (size_t)at.head * m.block_size * width;
      auto *keys = (Element *)s.keys(row.slot, layer) + head;
      auto *values = (Element *)s.values(row.slot, layer) + head + (size_t)row.position * width;
      auto *query = (Element *)s.q + ((size_t)r * m.config.n_head + at.head) * width;
      if (at.section == 1 && whole) {
        Element *to = keys + key_index<Kind>(width, row.position, at.unit);
        for (int32_t u = 0; u < LANES; u++)
          to[(size_t)(u / Kind::UNITS) * LANES * Kind::UNITS + u % Kind::UNITS] = narrow[u];
      } else if (at.section == 1) {
        keys[key_index<Kind>(width, row.position, at.unit)] = narrow[i];
      } else if (whole) {
        __builtin_memcpy(at.section == 0 ? query + at.unit : values + at.unit, at.section == 0 ? scaled : narrow,
                         sizeof narrow);
      } else if (at.section == 0) {
        query[at.unit] = scaled[i];
      } else {
        values[at.unit] = narrow[i];
      }
      if (whole) return;
    }
  }

  void product(const Matrix &matrix, const Activations &a, float *to, int32_t stride, const float *base) {
    linear(matrix, a, rows, id, size, [&](int32_t r, int32_t block, Floats out) {
      const size_t at = (size_t)r * stride + (size_t)block * LANES;
      store(to + at, load(base + at) + out);
    });
  }

  template <class Function>
  void activated(const Matrix &matrix, const Activations &a, Function function) {
    linear(matrix, a, rows, id, size, [&](int32_t r, int32_t block, Floats out) {
      store(s.hidden + (size_t)r * m.inner + (size_t)block * LANES, function(out));
    });
  }

  void layer(int32_t i) {
    const Layer &w = m.layers[i];
    const bool pre = m.config.pre_norm;
    // GPT-1 normalises what a sub-layer gives, and goes on from there: here that is where the next one begins.
    const Norm *before = pre ? &w.ln_1 : i > 0 ? &m.layers[i - 1].ln_2 : nullptr;
    const Activations a = prepare(s.x, w.c_attn, before, rows, nullptr);
    const float *base = pre || before == nullptr ? s.x : workspace(rows).normed;
    linear(w.c_attn, a, rows, id, size, [&](int32_t r, int32_t block, Floats out) { place(i, r, block, out); });
    meet_before(w.attn_c_proj);
    attention<Kind>(s, i, id);
    s.team.meet();
    product(w.attn_c_proj, prepare(s.y, w.attn_c_proj, nullptr, rows, nullptr), s.x, m.width, base);
    meet_before(w.c_fc);

    const Activations b = prepare(s.x, w.c_fc, pre ? &w.ln_2 : &w.ln_1, rows, nullptr);
    switch (m.config.activation) {
      case INK_GELU_NEW: activated(w.c_fc, b, [](Floats x) { return gelu_new(x); }); break;
      case INK_GELU: activated(w.c_fc, b, [](Floats x) { return gelu(x); }); break;
      default: activated(w.c_fc, b, [](Floats x) { return relu(x); });
    }
    meet_before(w.mlp_c_proj);
    const float *after = pre ? s.x : workspace(rows).normed;
    product(w.mlp_c_proj, prepare(s.hidden, w.mlp_c_proj, nullptr, rows, nullptr), s.x, m.width, after);
    meet_before(i + 1 < m.config.n_layer ? m.layers[i + 1].c_attn : m.head);
  }

  void head() {
    const int32_t count = s.n_outputs;
    if (count == 0) return;
    const Norm *last = m.config.pre_norm ? &m.ln_f : &m.layers[m.config.n_layer - 1].ln_2;
    const Activations a = prepare(s.x, m.head, last, count, s.outputs);
    linear(m.head, a, count, id, size, [&](int32_t r, int32_t block, Floats out) {
      store(s.logits + (size_t)r * s.logits_stride + (size_t)block * LANES, out);
    });
    s.team.meet();
  }

  void pass() {
    embed();
    for (int32_t i = 0; i < m.config.n_layer; i++) layer(i);
    head();
  }
};

template <class Kind>
static void pass(ink_session &s, int id) {
  Member<Kind>{s, s.model, id, s.team.size(), s.n_rows}.pass();
}

}  // namespace ink::INK_PATH
