#include "thread_team.hpp"

#include <algorithm>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ink {

namespace {

using namespace std::chrono_literals;

constexpr int SPIN_ITERATIONS = 1500;  // before sleeping: about ten microseconds
// The team shrinks when its members have slept for MAX_WAITED more than this fraction of the time. A busy process on a
// core costs half of the time; the other threads of this process, and threads that wake up late, cost less.
constexpr double TOLERATED_FRACTION = 0.3;
constexpr double MAX_WAITED = 0.012;  // seconds: more than one late wake-up takes
constexpr auto MIN_PROBE_DELAY = 5ms, MAX_PROBE_DELAY = 500ms;
// A core is free if a thread that ran for PROBE_TIME, several slices of the scheduler, lost less than MAX_LOST of it. A
// gap of more than MIN_GAP counts as lost.
constexpr std::chrono::microseconds PROBE_TIME = 16ms, MAX_LOST = 5ms, MIN_GAP = 300us;

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
  std::chrono::steady_clock::duration lost{};
  for (auto last = begin; last - begin < PROBE_TIME;) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last > MIN_GAP) lost += now - last;
    if (lost > MAX_LOST) return false;
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
    waited_ = MAX_WAITED / 2;
  } else if (probe == CORE_IS_BUSY) {
    next.probe.store(NO_PROBE, std::memory_order_relaxed);
    delay_growth(now);
  }
}

void ThreadTeam::adapt_size(Clock::time_point begin) {
  if (size_ == 1) return;
  const auto now = Clock::now();
  const double slept = 1e-9 * (double)slept_.load(std::memory_order_relaxed);
  waited_ = std::max(0.0, waited_ + slept - TOLERATED_FRACTION * std::chrono::duration<double>(now - begin).count());
  if (waited_ > MAX_WAITED) {
    size_--;
    waited_ = 0.0;
    delay_growth(now);
  } else if (size_ == max_size() && now - full_since_ > probe_delay_) {  // not shrunk for as long as the last delay
    full_since_ = now;
    probe_delay_ = std::max<Clock::duration>(probe_delay_ / 2, MIN_PROBE_DELAY);
  }
}

void ThreadTeam::delay_growth(Clock::time_point now) {
  probe_at_ = now + probe_delay_;
  probe_delay_ = std::min<Clock::duration>(2 * probe_delay_, MAX_PROBE_DELAY);
}

}  // namespace ink
