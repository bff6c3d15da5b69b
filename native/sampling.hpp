// From logits to a token: runtime/sampling.py is the definition, and this gives the same tokens.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "inkhorn.h"

namespace ink {

// Buffers that are kept from one token to the next.
struct Scratch {
  void reserve(int32_t vocab_size) {
    if (weights.size() >= (size_t)vocab_size) return;
    weights.resize((size_t)vocab_size);
    sums.resize((size_t)vocab_size);
    keys.resize((size_t)vocab_size);
  }
  std::vector<double> weights;  // of every token; 0 for those that are not drawn
  std::vector<double> sums;     // of the weights before each block of ids
  std::vector<uint64_t> keys;   // of candidates that are put into order
};

// The random double in [0, 1) for a place in a text: Philox4x64-10.
double uniform(uint64_t seed, uint64_t choice, int64_t place);

// Steps 2 to 8: the token that `u` picks, or -1 if none can be drawn.
int32_t sample(const float *logits, int32_t vocab_size, const ink_sampling &params, double u, Scratch &scratch);

// ln softmax(logits) of a token, then of the `top` likeliest, with their ids.
void log_probabilities(const float *logits, int32_t vocab_size, int32_t token, int32_t top, float *logprobs,
                       int32_t *top_ids, Scratch &scratch);

}  // namespace ink
