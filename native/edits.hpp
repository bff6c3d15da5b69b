// Edits of activations: interventions in the forward pass. A row without edits is not touched.
#pragma once
#include "session.hpp"
#include "simd.hpp"

namespace ink::INK_ISA {

// Whether some row may have edits of this activation.
INK_INLINE bool is_edited(const ink_session &s, ink_site site, int32_t layer) {
  return s.batch.edited != nullptr && s.batch.edited[site * (s.model.config.n_layer + 1) + layer] != 0;
}

// Apply the edits of one activation of a row to `x`, which holds the activation of all heads, or of the stream. If
// `before` is given, the activation is x - before: what a sublayer added to the residual stream.
static void edit_row(const ink_session &s, ink_site site, int32_t layer, int32_t r, float *x, const float *before) {
  const Row &row = s.batch.rows[r];
  if (s.batch.inputs == nullptr) return;
  const ink_model_input &input = s.batch.inputs[row.input];
  const int32_t head_size = s.model.head_size, count = site == INK_HEAD_OUT ? head_size : s.model.config.n_embd;
  for (int32_t e = 0; e < input.n_edits; e++) {
    const ink_edit &edit = input.edits[e];
    if (edit.site != site || edit.layer != layer || row.position < edit.first || row.position >= edit.end) continue;
    float *to = x + (site == INK_HEAD_OUT ? edit.head * head_size : 0);
    // A scale of 1 changes no bits, and one of 0 leaves exactly what was there before the sublayer.
    if (edit.scale != 1.0f)
      for (int32_t i = 0; i < count; i++) {
        const float base = before == nullptr ? 0.0f : before[i];
        to[i] = edit.scale == 0.0f ? base : base + edit.scale * (to[i] - base);
      }
    if (edit.vector != nullptr)
      for (int32_t i = 0; i < count; i++) to[i] += edit.vector[i];
  }
}

}  // namespace ink::INK_ISA
