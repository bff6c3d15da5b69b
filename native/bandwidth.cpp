#include "bandwidth.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "target_clones.hpp"
#include "thread_team.hpp"

namespace ink {

namespace {

typedef uint64_t u64x8 __attribute__((vector_size(64)));

// Reads the whole block. The sum is returned so that the compiler cannot remove the loads.
INK_TARGET_CLONES uint64_t sum_block(const uint8_t *from, size_t bytes) {
  u64x8 sums[4] = {};
  for (size_t i = 0; i + sizeof sums <= bytes; i += sizeof sums)
    for (int j = 0; j < 4; j++) {
      u64x8 value;
      std::memcpy(&value, from + i + (size_t)j * sizeof value, sizeof value);
      sums[j] += value;
    }
  const u64x8 total = sums[0] + sums[1] + sums[2] + sums[3];
  return total[0] + total[1] + total[2] + total[3] + total[4] + total[5] + total[6] + total[7];
}

}  // namespace

double memory_bandwidth(size_t bytes, int threads, int32_t rounds) {
  std::vector<uint8_t> block(bytes, 1);
  ThreadTeam team(threads);
  const size_t max_size = (size_t)team.max_size(), part = bytes / max_size / 256 * 256;
  const size_t passes = ((size_t)256 << 20) / bytes + 1;  // enough that the start of the team takes negligible time
  std::vector<uint64_t> sums(max_size * 8);
  double best = 0.0;
  for (int32_t round = 0; round <= rounds; round++) {  // the first round is a warm-up
    const auto start = std::chrono::steady_clock::now();
    team.run([&](int id) {
      const size_t share = part * max_size / (size_t)team.size() / 256 * 256;
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
