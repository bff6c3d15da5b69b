#include "bandwidth.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <vector>

#include "target_clones.hpp"
#include "thread_team.hpp"

namespace ink {

namespace {

constexpr uint64_t VALUE = 3;  // of every integer in the block: the sum shows how many were read

// Reads the whole block in four streams, each a quarter of it, as the kernel reads the weights of four blocks of
// outputs. Streams within one page would be slower, because CPUs prefetch a page as one stream. The compiler vectorizes
// the loop, with registers of the width that the CPU has.
INK_TARGET_CLONES uint64_t sum_block(const uint64_t *from, size_t count) {
  const size_t quarter = count / 4;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i < quarter; i++) {
    a += from[i];
    b += from[i + quarter];
    c += from[i + 2 * quarter];
    d += from[i + 3 * quarter];
  }
  for (size_t i = 4 * quarter; i < count; i++) a += from[i];
  return a + b + c + d;
}

}  // namespace

double memory_bandwidth(size_t bytes, int threads, int32_t rounds) {
  const size_t count = std::max<size_t>(1, bytes / sizeof(uint64_t));
  const std::vector<uint64_t> block(count, VALUE);
  ThreadTeam team(threads);
  const size_t passes = ((size_t)256 << 20) / (count * sizeof(uint64_t)) + 1;  // starting the team takes less time
  std::vector<uint64_t> sums((size_t)team.max_size() * 8);
  double best = 0.0;
  for (int32_t round = 0; round <= rounds; round++) {  // the first round is a warm-up
    std::fill(sums.begin(), sums.end(), 0);
    const auto start = std::chrono::steady_clock::now();
    team.run([&](int id) {
      const size_t begin = count * (size_t)id / (size_t)team.size(),
                   end = count * (size_t)(id + 1) / (size_t)team.size();
      for (size_t pass = 0; pass < passes; pass++) {
        sums[(size_t)id * 8] += sum_block(block.data() + begin, end - begin);
        std::atomic_signal_fence(std::memory_order_seq_cst);  // or the compiler would read the block only once
      }
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const uint64_t read = std::accumulate(sums.begin(), sums.end(), (uint64_t)0) / VALUE;  // integers
    if (round > 0) best = std::max(best, (double)(read * sizeof(uint64_t)) / seconds.count());
  }
  return best;
}

}  // namespace ink
