#include "bandwidth.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "target_clones.hpp"
#include "thread_team.hpp"

namespace ink {

namespace {

constexpr size_t CHUNK = 512;  // integers

// Reads the whole block. The sum is returned so that the compiler cannot remove the loads. The four streams within a
// chunk are vectorized by the compiler, with registers of the width that the CPU has.
INK_TARGET_CLONES uint64_t sum_block(const uint64_t *from, size_t count) {
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t chunk = 0; chunk + CHUNK <= count; chunk += CHUNK, from += CHUNK)
    for (size_t i = 0; i < CHUNK / 4; i++) {
      a += from[i];
      b += from[i + CHUNK / 4];
      c += from[i + CHUNK / 2];
      d += from[i + CHUNK / 4 * 3];
    }
  return a + b + c + d;
}

}  // namespace

double memory_bandwidth(size_t bytes, int threads, int32_t rounds) {
  std::vector<uint64_t> block(bytes / 8, 1);
  ThreadTeam team(threads);
  const size_t passes = ((size_t)256 << 20) / bytes + 1;  // enough that the start of the team takes negligible time
  std::vector<uint64_t> sums((size_t)team.max_size() * 8);
  double best = 0.0;
  for (int32_t round = 0; round <= rounds; round++) {  // the first round is a warm-up
    const auto start = std::chrono::steady_clock::now();
    team.run([&](int id) {
      const size_t share = block.size() / (size_t)team.size() / CHUNK * CHUNK;
      for (size_t pass = 0; pass < passes; pass++)
        sums[(size_t)id * 8] += sum_block(block.data() + (size_t)id * share, share);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double bandwidth = (double)bytes * (double)passes / seconds.count();
    if (round > 0 && sums[0] != 1 && bandwidth > best) best = bandwidth;
  }
  return best;
}

}  // namespace ink
