// A team of threads that work on one job together and meet at barriers.
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace ink {

// Cores that this process may use.
int cores();

// The caller is member 0. Members wait some microseconds awake, for the next phase of a step is that near, and then sleep:
// an idle server uses no time at all.
//
// A core that another process is busy on stalls its member for milliseconds, and all others wait. So a job that lost much
// of its time waiting is followed by jobs of a smaller team, and now and then by one of a larger, to see whether that pays
// again. Results do not depend on the team's size, so nobody can tell but by the clock.
class Team {
 public:
  explicit Team(int most);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  // Members at most, and members of the job that runs.
  int most() const { return (int)threads_.size() + 1; }
  int size() const { return size_; }
  // Run job(id) on every member; returns when all are done. Jobs do not throw.
  void run(const std::function<void(int)> &job);
  // Within a job: wait until every member has come here. What they wrote before, all see afterwards.
  void meet();

 private:
  using Clock = std::chrono::steady_clock;
  struct alignas(64) Signal {
    std::atomic<uint32_t> count{0};
  };

  void work(int id);
  void stop();
  void resize(Clock::time_point now);
  void judge(Clock::duration lasted);

  std::vector<std::thread> threads_;
  std::unique_ptr<Signal[]> started_;  // for each member, the jobs that it was called to
  const std::function<void(int)> *job_ = nullptr;
  bool stopping_ = false;
  int size_;
  Clock::time_point larger_at_{};  // when to try a larger team
  Clock::duration patience_;       // how long to stay with a smaller one
  Signal meetings_;                // that are over
  Signal arrived_;
  std::atomic<int64_t> waited_{0};  // nanoseconds that members slept at meetings of this job
};

}  // namespace ink
