// Zero-initialized memory that starts on a cache line.
#pragma once
#include <cstddef>
#include <memory>

namespace ink {

constexpr size_t CACHE_LINE = 64;  // bytes; every tensor and buffer starts on a cache line

struct FreeDeleter {
  void operator()(void *block) const;
};

// Pages that are never written take no physical memory.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t bytes);  // throws std::bad_alloc
  template <class T>
  T *as() const {
    return (T *)aligned_;
  }

 private:
  std::unique_ptr<void, FreeDeleter> block_;
  void *aligned_ = nullptr;
};

}  // namespace ink
