#include "memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <new>

namespace ink {

void FreeDeleter::operator()(void *block) const { std::free(block); }

AlignedBuffer::AlignedBuffer(size_t bytes) : block_(std::calloc(bytes + CACHE_LINE, 1)) {
  if (block_ == nullptr) {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    std::abort();
#endif
  }
  aligned_ = (void *)(((uintptr_t)block_.get() + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
}

}  // namespace ink
