// The steps are numbered as in the Python specification. All sums are double precision, in the order written.
//
// A token that is filtered out keeps its position in the arrays with a weight of 0, which does not change any sum.
#include "sampling.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "softmax.hpp"

namespace ink {

namespace {

// Encodes a logit and its id as one integer that sorts by (-logit, id).
inline uint64_t sort_key(float logit, int32_t id) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 becomes +0
  const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (uint64_t)~ascending << 32 | (uint32_t)id;
}
inline int32_t key_id(uint64_t key) { return (int32_t)(uint32_t)key; }

// Samples one token, step by step.
class TokenSampler {
 public:
  TokenSampler(const float *logits, int32_t vocab_size, const ink_sampling_params &params, SamplingBuffers &buffers)
      : logits_(logits),
        vocab_size_(vocab_size),
        params_(params),
        weights_(buffers.weights.data()),
        prefix_sums_(buffers.prefix_sums.data()),
        keys_(buffers.keys.data()) {}

  // Steps 2 and 3: the largest logit, over the ranges of ids between the banned ones. Returns whether a token can be
  // sampled.
  bool find_max() {
    bool invalid = false;
    int32_t from = 0;
    for (int32_t b = 0; b <= params_.n_banned_ids; b++) {
      const int32_t end = b < params_.n_banned_ids ? params_.banned_ids[b] : vocab_size_;
      max_ = std::max(max_, max_logit(logits_ + from, end - from, invalid));
      from = end + 1;
    }
    return !invalid && max_ > -INFINITY;
  }

  // Step 3: the first token with the largest logit.
  int32_t greedy() const {
    int32_t id = 0;
    while (logits_[id] != max_ || is_banned(id)) id++;
    return id;
  }

  // Step 5, before step 4: the weight of every token.
  void compute_weights() {
    total_ = softmax_weights(logits_, vocab_size_, max_, params_.temperature, params_.banned_ids, params_.n_banned_ids,
                             weights_, prefix_sums_);
  }

  // Step 4: the first top_k candidates by (-logit, id). A heap holds the best candidates so far, the worst first.
  void apply_top_k() {
    const int32_t k = params_.top_k;
    if (k <= 0 || k >= vocab_size_) return;
    int32_t size = 0;
    for_each_candidate([&](int32_t id) {
      const uint64_t key = sort_key(logits_[id], id);
      if (size == k) {
        if (key > keys_[0]) return;
        std::pop_heap(keys_, keys_ + size--);
      }
      keys_[size++] = key;
      std::push_heap(keys_, keys_ + size);
    });
    keep_only(size);
  }

  // Step 6: the shortest prefix by (-logit, id) whose weights sum to the bound. Only candidates above a threshold from
  // a histogram are sorted. If rounding makes these too few, all candidates are sorted.
  void apply_top_p() {
    if (!(params_.top_p < 1.0)) return;
    const double bound = params_.top_p * total_;
    int32_t count = prefix_length(collect_keys(weight_threshold(bound)), bound);
    if (count < 0) count = prefix_length(collect_keys(0.0), bound);
    if (count >= 0) keep_only(count);
  }

  // Step 7.
  void apply_min_p() {
    if (!(params_.min_p > 0.0)) return;
    for (int32_t i = 0; i < vocab_size_; i++)
      if (weights_[i] < params_.min_p) weights_[i] = 0.0;
    update_sums();
  }

  // Step 8: the first token whose cumulative weight exceeds the bound. Cumulative weights never decrease, so the token
  // is in the last block whose prefix sum does not exceed the bound.
  int32_t select(double u) const {
    const double bound = u * total_;
    double *const end = prefix_sums_ + (vocab_size_ + SUM_BLOCK - 1) / SUM_BLOCK;
    const auto block = (int32_t)(std::upper_bound(prefix_sums_, end, bound) - prefix_sums_) - 1;
    double cumulative = prefix_sums_[block];
    for (int32_t i = block * SUM_BLOCK; i < vocab_size_; i++) {
      cumulative += weights_[i];
      if (cumulative > bound) return i;
    }
    int32_t last = vocab_size_ - 1;  // because of rounding no cumulative weight exceeds the bound
    while (!(weights_[last] > 0.0)) last--;
    return last;
  }

 private:
  bool is_banned(int32_t id) const {
    return std::binary_search(params_.banned_ids, params_.banned_ids + params_.n_banned_ids, id);
  }

  template <class Function>
  void for_each_candidate(Function function) const {
    int32_t b = 0;
    for (int32_t id = 0; id < vocab_size_; id++) {
      if (b < params_.n_banned_ids && params_.banned_ids[b] == id)
        b++;
      else if (logits_[id] > -INFINITY)
        function(id);
    }
  }

  // Recompute the sums after some weights were set to 0.
  void update_sums() {
    total_ = 0.0;
    for (int32_t i = 0; i < vocab_size_; i += SUM_BLOCK) {
      prefix_sums_[i / SUM_BLOCK] = total_;
      total_ = add_in_order(total_, weights_ + i, std::min(SUM_BLOCK, vocab_size_ - i));
    }
  }

  // A weight such that the weights from there on sum to more than the bound. It comes from a histogram with 16 bins per
  // power of two, indexed by the exponent and the first four bits of the fraction.
  double weight_threshold(double bound) const {
    constexpr int32_t BINS = 16, OCTAVES = 64;
    double histogram[BINS * OCTAVES] = {};
    const auto bin = [](double w) { return 1023 * BINS + BINS - 1 - (int32_t)(std::bit_cast<uint64_t>(w) >> 48); };
    for (int32_t i = 0; i < vocab_size_; i++) {
      const int32_t b = bin(weights_[i]);
      if (b < BINS * OCTAVES) histogram[b] += weights_[i];
    }
    double cumulative = 0.0;
    for (int32_t b = 0; b < BINS * OCTAVES; b++) {
      cumulative += histogram[b];
      if (cumulative > bound * (1.0 + 1e-9)) return std::bit_cast<double>((uint64_t)(1023 * BINS + BINS - 1 - b) << 48);
    }
    return 0.0;
  }

  // Collect the sort keys of the candidates with at least this weight; returns their number.
  int32_t collect_keys(double min_weight) {
    int32_t count = 0;
    for_each_candidate([&](int32_t id) {
      if (weights_[id] > 0.0 && weights_[id] >= min_weight) keys_[count++] = sort_key(logits_[id], id);
    });
    return count;
  }

  // Sort the first `count` keys; returns how many of them have weights that sum to the bound, or -1 if all are too few.
  int32_t prefix_length(int32_t count, double bound) {
    std::sort(keys_, keys_ + count);
    double cumulative = 0.0;
    for (int32_t i = 0; i < count; i++) {
      cumulative += weights_[key_id(keys_[i])];
      if (cumulative >= bound) return i + 1;
    }
    return -1;
  }

  // Set all weights to 0 except those of the first `count` keys.
  void keep_only(int32_t count) {
    std::sort(keys_, keys_ + count, [](uint64_t a, uint64_t b) { return key_id(a) < key_id(b); });
    int32_t next = 0;
    for (int32_t j = 0; j < count; j++) {
      const int32_t id = key_id(keys_[j]);
      std::fill(weights_ + next, weights_ + id, 0.0);
      next = id + 1;
    }
    std::fill(weights_ + next, weights_ + vocab_size_, 0.0);
    update_sums();
  }

  const float *logits_;
  const int32_t vocab_size_;
  const ink_sampling_params &params_;
  double *weights_;
  double *prefix_sums_;
  uint64_t *keys_;
  float max_ = -INFINITY;
  double total_ = 0.0;
};

}  // namespace

double uniform(uint64_t seed, uint64_t sample_index, int64_t position) {
  uint64_t c0 = (uint64_t)position, c1 = 0, c2 = 0, c3 = 0, k0 = seed, k1 = sample_index;
  for (int i = 0; i < 10; i++) {
    const auto p0 = (unsigned __int128)0xD2E7470EE14C6C93u * c0, p1 = (unsigned __int128)0xCA5A826395121157u * c2;
    const uint64_t n0 = (uint64_t)(p1 >> 64) ^ c1 ^ k0, n2 = (uint64_t)(p0 >> 64) ^ c3 ^ k1;
    c0 = n0, c1 = (uint64_t)p1, c2 = n2, c3 = (uint64_t)p0;
    k0 += 0x9E3779B97F4A7C15u, k1 += 0xBB67AE8584CAA73Bu;
  }
  return (double)(c0 >> 11) * 0x1p-53;
}

int32_t sample(const float *logits, int32_t vocab_size, const ink_sampling_params &params, double u,
               SamplingBuffers &buffers) {
  TokenSampler sampler(logits, vocab_size, params, buffers);
  if (!sampler.find_max()) return -1;
  if (params.temperature == 0.0) return sampler.greedy();
  sampler.compute_weights();
  sampler.apply_top_k();
  sampler.apply_top_p();
  sampler.apply_min_p();
  return sampler.select(u);
}

void log_probabilities(const float *logits, int32_t vocab_size, int32_t token, int32_t top, float *logprobs,
                       int32_t *top_ids, SamplingBuffers &buffers) {
  bool invalid = false;
  const double max = max_logit(logits, vocab_size, invalid);
  double *weights = buffers.weights.data();
  uint64_t *keys = buffers.keys.data();
  const double total = softmax_weights(logits, vocab_size, max, 1.0, nullptr, 0, weights, buffers.prefix_sums.data());
  const double normalizer = max + std::log(total);
  logprobs[0] = (float)((double)logits[token] - normalizer);
  for (int32_t i = 0; i < vocab_size; i++) keys[i] = sort_key(logits[i], i);
  std::partial_sort(keys, keys + top, keys + vocab_size);
  for (int32_t i = 0; i < top; i++) {
    top_ids[i] = key_id(keys[i]);
    logprobs[1 + i] = (float)((double)logits[top_ids[i]] - normalizer);
  }
}

}  // namespace ink
