// Memory read bandwidth: the limit for decoding, which reads every weight once per token.
#pragma once
#include <cstddef>
#include <cstdint>

namespace ink {

// Bytes per second that `threads` threads read from a block of this size: the best of `rounds` measurements.
// Throws std::bad_alloc or std::system_error.
double memory_bandwidth(size_t bytes, int threads, int32_t rounds);

}  // namespace ink
