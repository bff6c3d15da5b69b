// A team of threads that execute one job together and synchronize at barriers.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace ink {

// The calling thread is member 0. A waiting thread spins for a few microseconds, because the next phase of a job
// usually starts within that time, and then sleeps, so an idle team uses no CPU time.
//
// When another process occupies a core, the member on that core stalls for milliseconds and all others wait for it.
// Therefore a team that spent much of a job waiting runs the next jobs with one member fewer. After a delay it grows
// again, to find out whether the core is free. Results do not depend on the size of the team.
class ThreadTeam {
 public:
  explicit ThreadTeam(int max_size);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam &) = delete;
  ThreadTeam &operator=(const ThreadTeam &) = delete;

  int max_size() const { return (int)threads_.size() + 1; }
  // The number of members that execute the current job.
  [[gnu::always_inline]] int size() const { return size_; }
  // Call job(id) on every member and wait until all have returned. A job must not throw.
  void run(const std::function<void(int)> &job);
  // Called by every member within a job: wait for all of them. Writes before the barrier are visible after it.
  void barrier();

 private:
  using Clock = std::chrono::steady_clock;
  struct alignas(64) Counter {
    std::atomic<uint32_t> value{0};
  };

  void thread_main(int id);
  void stop();
  void grow_if_due(Clock::time_point now);
  void adapt_size(Clock::duration elapsed);

  std::vector<std::thread> threads_;
  std::unique_ptr<Counter[]> started_;  // per member: the number of jobs it has been started for
  const std::function<void(int)> *job_ = nullptr;
  bool stopping_ = false;
  int size_;
  Clock::time_point grow_at_{};
  Clock::duration grow_delay_;
  Counter generation_;             // completed barriers
  Counter arrived_;                // members that have reached the current barrier
  std::atomic<int64_t> slept_{0};  // nanoseconds that members slept at the barriers of this job, in total
};

}  // namespace ink
