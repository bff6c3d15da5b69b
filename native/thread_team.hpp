// A team of threads that execute one job together and synchronize at barriers.
#pragma once
#if !defined(__wasm__)
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>
#endif

namespace ink {

#if defined(__wasm__)

// WebAssembly has no threads without special HTTP headers: the team is the calling thread.
class ThreadTeam {
 public:
  explicit ThreadTeam(int) {}
  int max_size() const { return 1; }
  [[gnu::always_inline]] int size() const { return 1; }
  template <class Job>
  void run(const Job &job) {
    job(0);
  }
  void barrier() {}
};

#else

// The calling thread is member 0. A waiting thread spins for a few microseconds, because the next phase of a job
// usually starts within that time, and then sleeps, so an idle team uses no CPU time.
//
// When another process occupies a core, the member on that core stalls for milliseconds and all others wait for it at
// every barrier. Therefore a team whose members wait for much of the time runs the next jobs with one member fewer. One
// long wait is not enough: on an idle virtual machine, too, a thread wakes up late now and then. From time to time the
// member left out probes, beside the jobs, whether it gets most of a core for some milliseconds; then it takes part
// again. The time between probes doubles as long as there is no free core. Results do not depend on the size of the
// team.
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
  enum class Task { job, probe };
  enum Probe : uint32_t { NO_PROBE, PROBING, CORE_IS_FREE, CORE_IS_BUSY };
  struct alignas(64) Member {
    std::atomic<uint32_t> started{0};  // the number of tasks it has been started for
    std::atomic<uint32_t> probe{NO_PROBE};
    Task task = Task::job;
  };

  void start(Member &member, Task task);
  void thread_main(Member &member, int id);
  void stop();
  void grow_if_core_is_free(Clock::time_point now);
  void delay_growth(Clock::time_point now);
  void adapt_size(Clock::time_point start);

  std::vector<std::thread> threads_;
  std::unique_ptr<Member[]> members_;
  const std::function<void(int)> *job_ = nullptr;
  bool stopping_ = false;
  int size_;
  Clock::time_point probe_at_{};
  Clock::time_point full_since_{};  // when the team became complete, or the delay was last halved
  Clock::duration probe_delay_;
  Counter generation_;             // completed barriers
  Counter arrived_;                // members that have reached the current barrier
  std::atomic<int64_t> slept_{0};  // nanoseconds that members slept at the barriers of this job, in total
  double waited_ = 0.0;            // seconds that members slept lately beyond what is tolerated
};

#endif

}  // namespace ink
