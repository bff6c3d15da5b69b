// Samples tokens from logits. The sampling module of the Python package is the specification: for the same logits and
// the same random number, this code returns the same token.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "inkhorn.h"

namespace ink {

// Buffers of the sampler, reused for every token.
struct SamplingBuffers {
  void reserve(int32_t vocab_size) {
    if (weights.size() >= (size_t)vocab_size) return;
    weights.resize((size_t)vocab_size);
    prefix_sums.resize((size_t)vocab_size);
    keys.resize((size_t)vocab_size);
  }
  std::vector<double> weights;      // per token; 0 for tokens that are not candidates
  std::vector<double> prefix_sums;  // the sum of the weights before each block of ids
  std::vector<uint64_t> keys;       // sort keys of the candidates
};

// A random double in [0, 1) from the counter-based generator Philox4x64-10.
double uniform(uint64_t seed, uint64_t sample_index, int64_t position);

// The token that the random number `u` selects, or -1 if no token can be sampled.
int32_t sample(const float *logits, int32_t vocab_size, const ink_sampling_params &params, double u,
               SamplingBuffers &buffers);

// ln softmax(logits) of a token, then of the `top` likeliest tokens, and the ids of those.
void log_probabilities(const float *logits, int32_t vocab_size, int32_t token, int32_t top, float *logprobs,
                       int32_t *top_ids, SamplingBuffers &buffers);

}  // namespace ink
