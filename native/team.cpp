#include "team.hpp"

#include <algorithm>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ink {

namespace {

// How often to look before sleeping: some ten microseconds within a job, where the others are about to come, and some
// hundred between jobs, while Python prepares the next one.
constexpr int LOOKS_IN_JOB = 400, LOOKS_BETWEEN_JOBS = 4000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void wait_for_change(const std::atomic<uint32_t> &value, uint32_t old, int looks) {
  for (int i = 0; i < looks; i++) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

int cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return (int)std::max(1u, std::thread::hardware_concurrency());
}

Team::Team(int size) : size_(std::max(1, size)) {
  threads_.reserve((size_t)size_ - 1);
  try {
    for (int id = 1; id < size_; id++) threads_.emplace_back([this, id] { work(id); });
  } catch (...) {  // the system has no more threads: those that run must end before their team is gone
    stopping_ = true;
    started_.fetch_add(1, std::memory_order_release);
    started_.notify_all();
    for (auto &thread : threads_) thread.join();
    throw;
  }
}

Team::~Team() {
  stopping_ = true;
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
  for (auto &thread : threads_) thread.join();
}

void Team::run(const std::function<void(int)> &job) {
  job_ = &job;
  started_.fetch_add(1, std::memory_order_release);
  started_.notify_all();
  job(0);
  meet();
}

void Team::work(int id) {
  for (uint32_t seen = 0;;) {
    wait_for_change(started_, seen, LOOKS_BETWEEN_JOBS);
    seen++;
    if (stopping_) return;
    (*job_)(id);
    meet();
  }
}

void Team::meet() {
  if (size_ == 1) return;
  const uint32_t meeting = meetings_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    meetings_.store(meeting + 1, std::memory_order_release);
    meetings_.notify_all();
  } else {
    wait_for_change(meetings_, meeting, LOOKS_IN_JOB);
  }
}

}  // namespace ink
