// A team of threads that work on one job together and meet at barriers.
#pragma once
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace ink {

// Cores that this process may use.
int cores();

// The caller is member 0. Members wait a few microseconds awake, for the next phase of a step is that near, and then
// sleep: a machine whose other core is busy would otherwise lose its time to waiting, and an idle server would burn it.
class Team {
 public:
  explicit Team(int size);
  ~Team();
  Team(const Team &) = delete;
  Team &operator=(const Team &) = delete;

  int size() const { return size_; }
  // Run job(id) on every member; returns when all are done. Jobs do not throw.
  void run(const std::function<void(int)> &job);
  // Within a job: wait until every member has come here. What they wrote before, all see afterwards.
  void meet();

 private:
  void work(int id);

  const int size_;
  std::vector<std::thread> threads_;
  const std::function<void(int)> *job_ = nullptr;
  bool stopping_ = false;
  alignas(64) std::atomic<uint32_t> started_{0};  // jobs begun
  alignas(64) std::atomic<uint32_t> meetings_{0};  // meetings over
  alignas(64) std::atomic<int> arrived_{0};
};

}  // namespace ink
