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
constexpr double STALL_FRACTION = 0.4;
constexpr auto STALL_TIME = 1ms;
// The team shrinks if a job that starts within this time after a stall, or after the team has grown, stalls too.
constexpr auto SETTLING_TIME = 50ms;
constexpr auto MIN_PROBE_DELAY = 5ms, MAX_PROBE_DELAY = 500ms;
// A core is free if a thread ran for this long, longer than the scheduler lets one of several threads run at a time,
// without a gap of more than this.
constexpr std::chrono::microseconds PROBE_TIME = 8ms, MAX_GAP = 300us;

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

// Whether this thread has a core for itself.
bool core_is_free() {
  const auto begin = std::chrono::steady_clock::now();
  for (auto last = begin; last - begin < PROBE_TIME;) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last > MAX_GAP) return false;
    last = now;
  }
  return true;
}

}  // namespace

ThreadTeam::ThreadTeam(int max_size)
    : members_(new Member[(size_t)std::max(1, max_size)]), size_(std::max(1, max_size)), probe_delay_(MIN_PROBE_DELAY) {
  threads_.reserve((size_t)size_ - 1);
  try {
    for (int id = 1; id < size_; id++) threads_.emplace_back([this, id] { thread_main(members_[(size_t)id], id); });
  } catch (...) {  // no more threads available: join those that were started before the members are destroyed
    stop();
    throw;
  }
}

ThreadTeam::~ThreadTeam() { stop(); }

void ThreadTeam::stop() {
  stopping_ = true;
  for (size_t i = 0; i < threads_.size(); i++) increment_and_notify(members_[i + 1].started);
  for (auto &thread : threads_) thread.join();
}

void ThreadTeam::start(Member &member, Task task) {
  member.task = task;
  increment_and_notify(member.started);
}

void ThreadTeam::run(const std::function<void(int)> &job) {
  const auto begin = Clock::now();
  grow_if_core_is_free(begin);
  job_ = &job;
  slept_.store(0, std::memory_order_relaxed);
  for (int id = 1; id < size_; id++) start(members_[(size_t)id], Task::job);
  job(0);
  barrier();
  adapt_size(begin);
}

void ThreadTeam::thread_main(Member &member, int id) {
  for (uint32_t seen = 0;; seen++) {
    if (!spin_until_changed(member.started, seen)) sleep_until_changed(member.started, seen);
    if (stopping_) return;
    if (member.task == Task::probe) {
      member.probe.store(core_is_free() ? CORE_IS_FREE : CORE_IS_BUSY, std::memory_order_release);
    } else {
      (*job_)(id);
      barrier();
    }
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

void ThreadTeam::grow_if_core_is_free(Clock::time_point now) {
  if (size_ == max_size()) return;
  Member &next = members_[(size_t)size_];
  const uint32_t probe = next.probe.load(std::memory_order_acquire);
  if (probe == NO_PROBE && now >= probe_at_) {
    next.probe.store(PROBING, std::memory_order_relaxed);
    start(next, Task::probe);
  } else if (probe == CORE_IS_FREE) {
    next.probe.store(NO_PROBE, std::memory_order_relaxed);
    size_++;
    full_since_ = now;
    unsettled_until_ = now + SETTLING_TIME;
  } else if (probe == CORE_IS_BUSY) {
    next.probe.store(NO_PROBE, std::memory_order_relaxed);
    delay_growth(now);
  }
}

void ThreadTeam::adapt_size(Clock::time_point begin) {
  if (size_ == 1) return;
  const auto slept = std::chrono::nanoseconds(slept_.load(std::memory_order_relaxed));
  const auto now = Clock::now();
  if (slept > STALL_TIME && (double)(slept / 1ns) > STALL_FRACTION * (double)((now - begin) / 1ns)) {
    if (begin < unsettled_until_) {
      size_--;
      delay_growth(now);
    }
    unsettled_until_ = now + SETTLING_TIME;
  } else if (size_ == max_size() && now - full_since_ > probe_delay_) {  // no stall for as long as the last delay
    full_since_ = now;
    probe_delay_ = std::max<Clock::duration>(probe_delay_ / 2, MIN_PROBE_DELAY);
  }
}

void ThreadTeam::delay_growth(Clock::time_point now) {
  probe_at_ = now + probe_delay_;
  probe_delay_ = std::min<Clock::duration>(2 * probe_delay_, MAX_PROBE_DELAY);
}

}  // namespace ink
