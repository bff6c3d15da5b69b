// The steps have the numbers of runtime/sampling.py. Doubles throughout, in the order written, never fused: the build
// sets -ffp-contract=off. What is done to each token alone may be done to several at once; sums may not.
//
// A token that is not drawn keeps its place with a weight of 0, which changes no sum: nothing is moved together.
#include "sampling.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "clones.hpp"

namespace ink {

namespace {

constexpr double INVERSE_FACTORIALS[] = {
    1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0,
    1.0 / 720.0,        1.0 / 120.0,       1.0 / 24.0,       1.0 / 6.0,       1.0 / 2.0,      1.0,           1.0};

// e**x for x <= 0: sampling.exp, operation by operation.
[[gnu::always_inline]] inline double exp_below(double x) {
  constexpr double MAGIC = 6755399441055744.0;  // 1.5 * 2**52: added, it leaves no room for a fraction
  const double bounded = x > -700.0 ? x : -700.0;
  const double shifted = bounded * 1.4426950408889634 + MAGIC, n = shifted - MAGIC;
  const double r = (bounded - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = INVERSE_FACTORIALS[0];
  for (int i = 1; i < 14; i++) p = p * r + INVERSE_FACTORIALS[i];
  // 2**n by its bits, n being the lowest ones of `shifted`: from -1010 to 0, so a normal number, and the product exact.
  const int64_t power = (std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(MAGIC) + 1023) << 52;
  const double result = p * std::bit_cast<double>(power);
  return x < -700.0 ? 0.0 : result;
}

// Without the division where it changes nothing: what it costs is most of the loop.
template <bool DIVIDE>
[[gnu::always_inline]] inline void some_exponentials(const float *logits, int32_t count, double largest,
                                                     double temperature, double *weights) {
  for (int32_t i = 0; i < count; i++) {
    const double below = (double)logits[i] - largest;
    weights[i] = exp_below(DIVIDE ? below / temperature : below);
  }
}

// Adds the weights from one id to the next to `sum`, one after the other.
[[gnu::always_inline]] inline double add(double sum, const double *weights, int32_t count) {
  for (int32_t i = 0; i < count; i++) sum += weights[i];
  return sum;
}

constexpr int32_t BLOCK = 64;  // ids between two running sums that are kept
constexpr int32_t PIECE = 16;  // so few that a processor adds those of a piece while it computes the next

// A weight for each token, 0 for the banned ones; the sum before each block; returns the sum of all.
template <bool DIVIDE>
[[gnu::always_inline]] inline double weigh_all(const float *logits, int32_t count, double largest,
                                               const ink_sampling &params, double *weights, double *sums) {
  const int32_t *banned = params.banned, *const last = params.banned + params.n_banned;
  double sum = 0.0;
  for (int32_t i = 0; i < count; i += PIECE) {
    if (i % BLOCK == 0) sums[i / BLOCK] = sum;
    const int32_t size = std::min(PIECE, count - i);
    if (size == PIECE)
      some_exponentials<DIVIDE>(logits + i, PIECE, largest, params.temperature, weights + i);
    else
      some_exponentials<DIVIDE>(logits + i, size, largest, params.temperature, weights + i);
    while (banned != last && *banned < i + size) weights[*banned++] = 0.0;
    sum = size == PIECE ? add(sum, weights + i, PIECE) : add(sum, weights + i, size);
  }
  return sum;
}
INK_CLONES double weigh_divided(const float *logits, int32_t count, double largest, const ink_sampling &params,
                                double *weights, double *sums) {
  return weigh_all<true>(logits, count, largest, params, weights, sums);
}
INK_CLONES double weigh_plain(const float *logits, int32_t count, double largest, const ink_sampling &params,
                              double *weights, double *sums) {
  return weigh_all<false>(logits, count, largest, params, weights, sums);
}

// The largest of sixteen interleaved parts each; `bad` if one is NaN or +inf.
INK_CLONES float largest_of(const float *logits, int32_t count, bool &bad) {
  constexpr int32_t PARTS = 16;
  float most[PARTS];
  int32_t wrong[PARTS] = {};
  std::fill(most, most + PARTS, -INFINITY);
  int32_t i = 0;
  for (; i + PARTS <= count; i += PARTS)
    for (int32_t j = 0; j < PARTS; j++) {
      most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
      wrong[j] |= !(logits[i + j] < INFINITY);
    }
  for (; i < count; i++) {
    most[0] = logits[i] > most[0] ? logits[i] : most[0];
    wrong[0] |= !(logits[i] < INFINITY);
  }
  for (int32_t j = 0; j < PARTS; j++) {
    most[0] = std::max(most[0], most[j]);
    bad |= wrong[j] != 0;
  }
  return most[0];
}

// A logit and its id as one number that grows with (-l, id).
inline uint64_t key_of(float logit, int32_t id) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 becomes 0
  const uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (uint64_t)~ascending << 32 | (uint32_t)id;
}
inline int32_t id_of(uint64_t key) { return (int32_t)(uint32_t)key; }

// One choice of a token, step by step.
class Draw {
 public:
  Draw(const float *logits, int32_t vocab_size, const ink_sampling &params, Scratch &scratch)
      : logits_(logits),
        size_(vocab_size),
        params_(params),
        weights_(scratch.weights.data()),
        sums_(scratch.sums.data()),
        keys_(scratch.keys.data()) {}

  // 2. and 3. The largest logit, of tokens that are not banned: what lies between them is looked at piece by piece.
  bool find_largest() {
    bool bad = false;
    int32_t from = 0;
    for (int32_t b = 0; b <= params_.n_banned; b++) {
      const int32_t end = b < params_.n_banned ? params_.banned[b] : size_;
      largest_ = std::max(largest_, largest_of(logits_ + from, end - from, bad));
      from = end + 1;
    }
    return !bad && largest_ > -INFINITY;
  }

  // 3. The first of the largest.
  int32_t greedy() const {
    int32_t i = 0;
    while (logits_[i] != largest_ || banned(i)) i++;
    return i;
  }

  // 5. before 4.: a weight for each, 0 for those that are not drawn.
  void weigh() {
    const auto weigh = params_.temperature == 1.0 ? weigh_plain : weigh_divided;
    total_ = weigh(logits_, size_, largest_, params_, weights_, sums_);
  }

  // 4. The first top_k by (-l, id): a heap of the best so far, its worst on top. Ids ascend, so a later equal is worse.
  void keep_top_k() {
    const int32_t k = params_.top_k;
    if (k <= 0 || k >= size_) return;
    int32_t held = 0;
    for_each_candidate([&](int32_t i) {
      const uint64_t key = key_of(logits_[i], i);
      if (held == k) {
        if (key > keys_[0]) return;
        std::pop_heap(keys_, keys_ + held--);
      }
      keys_[held++] = key;
      std::push_heap(keys_, keys_ + held);
    });
    keep_only(held);
  }

  // 6. The shortest beginning by (-l, id) whose sum reaches the bound. Ordered are only those that a rough count by the
  // size of their weight finds necessary; if rounding makes them too few, all.
  void keep_top_p() {
    if (!(params_.top_p < 1.0)) return;
    const double bound = params_.top_p * total_;
    const int32_t likely = gather(threshold(bound));
    int32_t count = beginning(likely, bound);
    if (count < 0) count = beginning(gather(0.0), bound);
    if (count >= 0) keep_only(count);
  }

  // 7.
  void keep_min_p() {
    if (!(params_.min_p > 0.0)) return;
    for (int32_t i = 0; i < size_; i++)
      if (weights_[i] < params_.min_p) weights_[i] = 0.0;
    add_up();
  }

  // 8. The running sum never falls: the block where it exceeds the bound is the last one that begins at or below it.
  int32_t pick(double u) const {
    const double bound = u * total_;
    double *const end = sums_ + (size_ + BLOCK - 1) / BLOCK;
    const auto block = (int32_t)(std::upper_bound(sums_, end, bound) - sums_) - 1;
    double running = sums_[block];
    for (int32_t i = block * BLOCK; i < size_; i++) {
      running += weights_[i];
      if (running > bound) return i;
    }
    int32_t last = size_ - 1;  // rounding left none
    while (!(weights_[last] > 0.0)) last--;
    return last;
  }

 private:
  bool banned(int32_t i) const { return std::binary_search(params_.banned, params_.banned + params_.n_banned, i); }

  template <class Function>
  void for_each_candidate(Function function) const {
    int32_t b = 0;
    for (int32_t i = 0; i < size_; i++) {
      if (b < params_.n_banned && params_.banned[b] == i)
        b++;
      else if (logits_[i] > -INFINITY)
        function(i);
    }
  }

  // The sums anew, after weights were taken away.
  void add_up() {
    total_ = 0.0;
    for (int32_t i = 0; i < size_; i += BLOCK) {
      sums_[i / BLOCK] = total_;
      total_ = add(total_, weights_ + i, std::min(BLOCK, size_ - i));
    }
  }

  // A weight such that those above it have a sum beyond the bound: sums by the binary digits of the weights, 16 steps for
  // each power of two.
  double threshold(double bound) const {
    constexpr int32_t STEPS = 16, OCTAVES = 64;
    double sums[STEPS * OCTAVES] = {};
    const auto bin = [](double w) { return 1023 * STEPS + STEPS - 1 - (int32_t)(std::bit_cast<uint64_t>(w) >> 48); };
    for (int32_t i = 0; i < size_; i++) {
      const int32_t b = bin(weights_[i]);
      if (b < STEPS * OCTAVES) sums[b] += weights_[i];
    }
    double running = 0.0;
    for (int32_t b = 0; b < STEPS * OCTAVES; b++) {
      running += sums[b];
      if (running > bound * (1.0 + 1e-9)) return std::bit_cast<double>((uint64_t)(1023 * STEPS + STEPS - 1 - b) << 48);
    }
    return 0.0;
  }

  // The keys of the candidates with at least this weight; returns how many.
  int32_t gather(double least) {
    int32_t count = 0;
    for_each_candidate([&](int32_t i) {
      if (weights_[i] > 0.0 && weights_[i] >= least) keys_[count++] = key_of(logits_[i], i);
    });
    return count;
  }

  // How many of some keys, put into order, it takes to reach the bound; -1 if all are too few.
  int32_t beginning(int32_t count, double bound) {
    std::sort(keys_, keys_ + count);
    double running = 0.0;
    for (int32_t i = 0; i < count; i++) {
      running += weights_[id_of(keys_[i])];
      if (running >= bound) return i + 1;
    }
    return -1;
  }

  // Only the first of the keys keep their weight.
  void keep_only(int32_t count) {
    std::sort(keys_, keys_ + count, [](uint64_t a, uint64_t b) { return id_of(a) < id_of(b); });
    int32_t next = 0;
    for (int32_t j = 0; j < count; j++) {
      const int32_t id = id_of(keys_[j]);
      std::fill(weights_ + next, weights_ + id, 0.0);
      next = id + 1;
    }
    std::fill(weights_ + next, weights_ + size_, 0.0);
    add_up();
  }

  const float *logits_;
  const int32_t size_;
  const ink_sampling &params_;
  double *weights_;
  double *sums_;
  uint64_t *keys_;
  float largest_ = -INFINITY;
  double total_ = 0.0;
};

}  // namespace

double uniform(uint64_t seed, uint64_t choice, int64_t place) {
  uint64_t c0 = (uint64_t)place, c1 = 0, c2 = 0, c3 = 0, k0 = seed, k1 = choice;
  for (int i = 0; i < 10; i++) {
    const auto p0 = (unsigned __int128)0xD2E7470EE14C6C93u * c0, p1 = (unsigned __int128)0xCA5A826395121157u * c2;
    const uint64_t n0 = (uint64_t)(p1 >> 64) ^ c1 ^ k0, n2 = (uint64_t)(p0 >> 64) ^ c3 ^ k1;
    c0 = n0, c1 = (uint64_t)p1, c2 = n2, c3 = (uint64_t)p0;
    k0 += 0x9E3779B97F4A7C15u, k1 += 0xBB67AE8584CAA73Bu;
  }
  return (double)(c0 >> 11) * 0x1p-53;
}

int32_t sample(const float *logits, int32_t vocab_size, const ink_sampling &params, double u, Scratch &scratch) {
  Draw draw(logits, vocab_size, params, scratch);
  if (!draw.find_largest()) return -1;
  if (params.temperature == 0.0) return draw.greedy();
  draw.weigh();
  draw.keep_top_k();
  draw.keep_top_p();
  draw.keep_min_p();
  return draw.pick(u);
}

void log_probabilities(const float *logits, int32_t vocab_size, int32_t token, int32_t top, float *logprobs,
                       int32_t *top_ids, Scratch &scratch) {
  bool bad = false;
  const double largest = largest_of(logits, vocab_size, bad);
  double *weights = scratch.weights.data();
  uint64_t *keys = scratch.keys.data();
  const double total = weigh_plain(logits, vocab_size, largest, ink_sampling{}, weights, scratch.sums.data());
  const double normalizer = largest + std::log(total);
  logprobs[0] = (float)((double)logits[token] - normalizer);
  for (int32_t i = 0; i < vocab_size; i++) keys[i] = key_of(logits[i], i);
  std::partial_sort(keys, keys + top, keys + vocab_size);
  for (int32_t i = 0; i < top; i++) {
    top_ids[i] = id_of(keys[i]);
    logprobs[1 + i] = (float)((double)logits[top_ids[i]] - normalizer);
  }
}

}  // namespace ink
