// How fast this machine reads memory: what bounds a model that is read from end to end for every token.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <system_error>
#include <vector>

#include "clones.hpp"
#include "model.hpp"
#include "team.hpp"

namespace {

typedef uint64_t Longs __attribute__((vector_size(64)));

// Everything is read, and the sum keeps the compiler from leaving it out.
INK_CLONES uint64_t read_all(const uint8_t *from, size_t bytes) {
  Longs sums[4] = {};
  for (size_t i = 0; i + sizeof sums <= bytes; i += sizeof sums)
    for (int j = 0; j < 4; j++) {
      Longs value;
      std::memcpy(&value, from + i + (size_t)j * sizeof value, sizeof value);
      sums[j] += value;
    }
  const Longs total = sums[0] + sums[1] + sums[2] + sums[3];
  return total[0] + total[1] + total[2] + total[3] + total[4] + total[5] + total[6] + total[7];
}

}  // namespace

extern "C" double ink_read_speed(size_t bytes, int32_t threads, int32_t rounds) {
  if (bytes < 4096 || threads < 1 || rounds < 1) return 0.0;
  try {
    std::vector<uint8_t> block(bytes, 1);
    ink::Team team(std::min((int)threads, ink::cores()));
    const size_t members = (size_t)team.most(), part = bytes / members / 256 * 256;
    const size_t passes = ((size_t)256 << 20) / bytes + 1;  // long enough that starting the team is nothing beside it
    std::vector<uint64_t> sums(members * 8);
    double best = 0.0;
    for (int32_t round = 0; round <= rounds; round++) {  // the first one warms up
      const auto start = std::chrono::steady_clock::now();
      team.run([&](int id) {
        const size_t share = part * members / (size_t)team.size() / 256 * 256;
        for (size_t pass = 0; pass < passes; pass++)
          sums[(size_t)id * 8] += read_all(block.data() + (size_t)id * share, share);
      });
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      const double speed = (double)bytes * (double)passes / seconds.count();
      if (round > 0 && sums[0] != 1 && speed > best) best = speed;
    }
    return best;
  } catch (const std::bad_alloc &) {
    return 0.0;
  } catch (const std::system_error &) {
    return 0.0;
  }
}
