#include "thread_team.hpp"

#include <algorithm>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ink {

namespace {

using namespace std::chrono_literals;

constexpr int SPIN_ITERATIONS = 1500;  // before sleeping: about ten microseconds
// A job counts as stalled if its members slept for more than this fraction of its duration and more than this time. A
// member that merely falls asleep once wakes up sooner.
constexpr double STALL_FRACTION = 0.25;
constexpr auto STALL_TIME = 1ms;
constexpr auto MIN_GROW_DELAY = 10ms, MAX_GROW_DELAY = 400ms;

void cpu_relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns whether the value changed while spinning.
bool spin_until_changed(const std::atomic<uint32_t> &value, uint32_t old) {
  for (int i = 0; i < SPIN_ITERATIONS; i++) {
    if (value.load(std::memory_order_acquire) != old) return true;
    cpu_relax();
  }
  return false;
}

void sleep_until_changed(const std::atomic<uint32_t> &value, uint32_t old) {
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

void increment_and_notify(std::atomic<uint32_t> &value) {
  value.fetch_add(1, std::memory_order_release);
  value.notify_all();
}

}  // namespace

ThreadTeam::ThreadTeam(int max_size)
    : started_(new Counter[(size_t)std::max(1, max_size)]), size_(std::max(1, max_size)), grow_delay_(MIN_GROW_DELAY) {
  threads_.reserve((size_t)size_ - 1);
  try {
    for (int id = 1; id < size_; id++) threads_.emplace_back([this, id] { thread_main(id); });
  } catch (...) {  // no more threads available: join those that were started before the members are destroyed
    stop();
    throw;
  }
}

ThreadTeam::~ThreadTeam() { stop(); }

void ThreadTeam::stop() {
  stopping_ = true;
  for (size_t i = 0; i < threads_.size(); i++) increment_and_notify(started_[i + 1].value);
  for (auto &thread : threads_) thread.join();
}

void ThreadTeam::run(const std::function<void(int)> &job) {
  const auto start = Clock::now();
  grow_if_due(start);
  job_ = &job;
  slept_.store(0, std::memory_order_relaxed);
  for (int id = 1; id < size_; id++) increment_and_notify(started_[(size_t)id].value);
  job(0);
  barrier();
  adapt_size(Clock::now() - start);
}

void ThreadTeam::thread_main(int id) {
  const std::atomic<uint32_t> &started = started_[(size_t)id].value;
  for (uint32_t seen = 0;; seen++) {
    if (!spin_until_changed(started, seen)) sleep_until_changed(started, seen);
    if (stopping_) return;
    (*job_)(id);
    barrier();
  }
}

void ThreadTeam::barrier() {
  const int size = size_;  // read before arriving: the next job may change size_ once all members have arrived
  if (size == 1) return;
  const uint32_t generation = generation_.value.load(std::memory_order_relaxed);
  if ((int)arrived_.value.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
    arrived_.value.store(0, std::memory_order_relaxed);
    increment_and_notify(generation_.value);
  } else if (!spin_until_changed(generation_.value, generation)) {
    const auto start = Clock::now();
    sleep_until_changed(generation_.value, generation);
    slept_.fetch_add((Clock::now() - start) / 1ns, std::memory_order_relaxed);
  }
}

void ThreadTeam::grow_if_due(Clock::time_point now) {
  if (size_ < max_size() && now >= grow_at_) {
    size_++;
    grow_at_ = now + grow_delay_;
  }
}

void ThreadTeam::adapt_size(Clock::duration elapsed) {
  if (size_ == 1) return;
  const auto slept = std::chrono::nanoseconds(slept_.load(std::memory_order_relaxed));
  if (slept > STALL_TIME && (double)(slept / 1ns) > STALL_FRACTION * (double)(elapsed / 1ns)) {
    size_--;
    grow_at_ = Clock::now() + grow_delay_;
    grow_delay_ = std::min<Clock::duration>(2 * grow_delay_, MAX_GROW_DELAY);
  } else if (size_ == max_size()) {
    grow_delay_ = std::max<Clock::duration>(grow_delay_ * 3 / 4, MIN_GROW_DELAY);
  }
}

}  // namespace ink
