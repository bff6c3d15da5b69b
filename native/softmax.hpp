// The unnormalized softmax over a vocabulary, in double precision. The sampling module of the Python package defines
// each operation and its order; the results are identical bit for bit, so the build sets -ffp-contract=off. Operations
// on single elements may be vectorized, sums may not.
#pragma once
#include <cstdint>

namespace ink {

constexpr int32_t SUM_BLOCK = 64;  // ids per entry of the prefix sums

// sum + weights[0] + weights[1] + ..., from left to right.
[[gnu::always_inline]] inline double add_in_order(double sum, const double *weights, int32_t count) {
  for (int32_t i = 0; i < count; i++) sum += weights[i];
  return sum;
}

// The largest logit, or -inf if there is none. Sets `invalid` if a logit is NaN or +inf.
float max_logit(const float *logits, int32_t count, bool &invalid);

// weights[i] = exp((logits[i] - max) / temperature), and 0 for the banned ids, which must be ascending. Writes the sum
// of the weights before each block of SUM_BLOCK ids to `prefix_sums`; returns the sum of all weights.
double softmax_weights(const float *logits, int32_t count, double max, double temperature, const int32_t *banned_ids,
                       int32_t n_banned_ids, double *weights, double *prefix_sums);

}  // namespace ink
