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

using namespace std::chrono_literals;

// How often to look before sleeping: some ten microseconds, in a job for the others, between jobs for the next one.
constexpr int LOOKS = 1500;
// A job was stalled if it slept so much of its time, and so long: a member that only slept itself wakes up sooner.
constexpr double STALLED = 0.25;
constexpr auto STALL = 1ms;
constexpr auto PATIENCE = 10ms, MOST_PATIENCE = 400ms;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Whether a value changes while one looks.
bool changes_soon(const std::atomic<uint32_t> &value, uint32_t old) {
  for (int i = 0; i < LOOKS; i++) {
    if (value.load(std::memory_order_acquire) != old) return true;
    pause();
  }
  return false;
}

void sleep_until_changed(const std::atomic<uint32_t> &value, uint32_t old) {
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

void signal(std::atomic<uint32_t> &value) {
  value.fetch_add(1, std::memory_order_release);
  value.notify_all();
}

}  // namespace

int cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return (int)std::max(1u, std::thread::hardware_concurrency());
}

Team::Team(int most)
    : started_(new Signal[(size_t)std::max(1, most)]), size_(std::max(1, most)), patience_(PATIENCE) {
  threads_.reserve((size_t)size_ - 1);
  try {
    for (int id = 1; id < size_; id++) threads_.emplace_back([this, id] { work(id); });
  } catch (...) {  // the system has no more threads: those that run must end before their team is gone
    stop();
    throw;
  }
}

Team::~Team() { stop(); }

void Team::stop() {
  stopping_ = true;
  for (size_t i = 0; i < threads_.size(); i++) signal(started_[i + 1].count);
  for (auto &thread : threads_) thread.join();
}

void Team::run(const std::function<void(int)> &job) {
  const auto start = Clock::now();
  resize(start);
  job_ = &job;
  waited_.store(0, std::memory_order_relaxed);
  for (int id = 1; id < size_; id++) signal(started_[(size_t)id].count);
  job(0);
  meet();
  judge(Clock::now() - start);
}

void Team::work(int id) {
  const std::atomic<uint32_t> &started = started_[(size_t)id].count;
  for (uint32_t seen = 0;; seen++) {
    if (!changes_soon(started, seen)) sleep_until_changed(started, seen);
    if (stopping_) return;
    (*job_)(id);
    meet();
  }
}

void Team::meet() {
  const int size = size_;  // read before arriving: the last one to arrive may go on to a job of another size
  if (size == 1) return;
  const uint32_t meeting = meetings_.count.load(std::memory_order_relaxed);
  if ((int)arrived_.count.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
    arrived_.count.store(0, std::memory_order_relaxed);
    signal(meetings_.count);
  } else if (!changes_soon(meetings_.count, meeting)) {
    const auto start = Clock::now();
    sleep_until_changed(meetings_.count, meeting);
    waited_.fetch_add((Clock::now() - start) / 1ns, std::memory_order_relaxed);
  }
}

void Team::resize(Clock::time_point now) {
  if (size_ < most() && now >= larger_at_) {
    size_++;
    larger_at_ = now + patience_;
  }
}

void Team::judge(Clock::duration lasted) {
  if (size_ == 1) return;
  const auto waited = std::chrono::nanoseconds(waited_.load(std::memory_order_relaxed));
  if (waited > STALL && (double)(waited / 1ns) > STALLED * (double)(lasted / 1ns)) {
    size_--;
    larger_at_ = Clock::now() + patience_;
    patience_ = std::min<Clock::duration>(2 * patience_, MOST_PATIENCE);
  } else if (size_ == most()) {
    patience_ = std::max<Clock::duration>(patience_ * 3 / 4, PATIENCE);
  }
}

}  // namespace ink
