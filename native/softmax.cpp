#include "softmax.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "target_clones.hpp"

namespace ink {

namespace {

// 1 / 13!, 1 / 12!, ..., 1 / 0!
constexpr double INVERSE_FACTORIALS[] = {1.0 / 6227020800.0,
                                         1.0 / 479001600.0,
                                         1.0 / 39916800.0,
                                         1.0 / 3628800.0,
                                         1.0 / 362880.0,
                                         1.0 / 40320.0,
                                         1.0 / 5040.0,
                                         1.0 / 720.0,
                                         1.0 / 120.0,
                                         1.0 / 24.0,
                                         1.0 / 6.0,
                                         1.0 / 2.0,
                                         1.0,
                                         1.0};

// e**x for x <= 0, with the same operations as exp of the Python sampler.
[[gnu::always_inline]] inline double exp_nonpositive(double x) {
  constexpr double ROUND_MAGIC = 6755399441055744.0;  // 1.5 * 2**52: adding it rounds off the fraction
  const double bounded = x > -700.0 ? x : -700.0;
  const double shifted = bounded * 1.4426950408889634 + ROUND_MAGIC, n = shifted - ROUND_MAGIC;
  const double r = (bounded - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = INVERSE_FACTORIALS[0];
  for (int i = 1; i < 14; i++) p = p * r + INVERSE_FACTORIALS[i];
  // Build 2**n from its bits. The low bits of `shifted` hold n, from -1010 to 0, so 2**n is a normal number and the
  // product is exact.
  const int64_t power = (std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(ROUND_MAGIC) + 1023) << 52;
  const double result = p * std::bit_cast<double>(power);
  return x < -700.0 ? 0.0 : result;
}

// DIVIDE is false for temperature 1: the division would take most of the time of the loop.
template <bool DIVIDE>
[[gnu::always_inline]] inline void exponentials(const float *logits, int32_t count, double max, double temperature,
                                                double *weights) {
  for (int32_t i = 0; i < count; i++) {
    const double difference = (double)logits[i] - max;
    weights[i] = exp_nonpositive(DIVIDE ? difference / temperature : difference);
  }
}

template <bool DIVIDE>
[[gnu::always_inline]] inline double compute_weights(const float *logits, int32_t count, double max, double temperature,
                                                     const int32_t *banned_ids, int32_t n_banned_ids, double *weights,
                                                     double *prefix_sums) {
  constexpr int32_t CHUNK = 16;  // small enough that the CPU sums one chunk while it computes the next
  const int32_t *banned = banned_ids, *const banned_end = banned_ids + n_banned_ids;
  double sum = 0.0;
  for (int32_t i = 0; i < count; i += CHUNK) {
    if (i % SUM_BLOCK == 0) prefix_sums[i / SUM_BLOCK] = sum;
    const int32_t size = std::min(CHUNK, count - i);
    if (size == CHUNK)
      exponentials<DIVIDE>(logits + i, CHUNK, max, temperature, weights + i);
    else
      exponentials<DIVIDE>(logits + i, size, max, temperature, weights + i);
    while (banned != banned_end && *banned < i + size) weights[*banned++] = 0.0;
    sum = size == CHUNK ? add_in_order(sum, weights + i, CHUNK) : add_in_order(sum, weights + i, size);
  }
  return sum;
}
INK_TARGET_CLONES double weights_with_temperature(const float *logits, int32_t count, double max, double temperature,
                                                  const int32_t *banned_ids, int32_t n_banned_ids, double *weights,
                                                  double *prefix_sums) {
  return compute_weights<true>(logits, count, max, temperature, banned_ids, n_banned_ids, weights, prefix_sums);
}
INK_TARGET_CLONES double weights_without_temperature(const float *logits, int32_t count, double max,
                                                     const int32_t *banned_ids, int32_t n_banned_ids, double *weights,
                                                     double *prefix_sums) {
  return compute_weights<false>(logits, count, max, 1.0, banned_ids, n_banned_ids, weights, prefix_sums);
}

// Keeps sixteen interleaved maxima so that the loop vectorizes.
INK_TARGET_CLONES float max_of(const float *logits, int32_t count, bool &invalid) {
  constexpr int32_t WIDTH = 16;
  float maxima[WIDTH];
  int32_t errors[WIDTH] = {};
  std::fill(maxima, maxima + WIDTH, -INFINITY);
  int32_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH)
    for (int32_t j = 0; j < WIDTH; j++) {
      maxima[j] = logits[i + j] > maxima[j] ? logits[i + j] : maxima[j];
      errors[j] |= !(logits[i + j] < INFINITY);
    }
  for (; i < count; i++) {
    maxima[0] = logits[i] > maxima[0] ? logits[i] : maxima[0];
    errors[0] |= !(logits[i] < INFINITY);
  }
  for (int32_t j = 0; j < WIDTH; j++) {
    maxima[0] = std::max(maxima[0], maxima[j]);
    invalid |= errors[j] != 0;
  }
  return maxima[0];
}

}  // namespace

float max_logit(const float *logits, int32_t count, bool &invalid) { return max_of(logits, count, invalid); }

double softmax_weights(const float *logits, int32_t count, double max, double temperature, const int32_t *banned_ids,
                       int32_t n_banned_ids, double *weights, double *prefix_sums) {
  if (temperature == 1.0)
    return weights_without_temperature(logits, count, max, banned_ids, n_banned_ids, weights, prefix_sums);
  return weights_with_temperature(logits, count, max, temperature, banned_ids, n_banned_ids, weights, prefix_sums);
}

}  // namespace ink
