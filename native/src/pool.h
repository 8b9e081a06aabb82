// Threads that run programs, one program at a time.
//
// Threads take tasks of the current stage from one counter; whoever ends the stage's last task opens
// the next. No thread waits for another to arrive, so a thread that wakes late costs nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "program.h"

namespace dejavu {

struct Run {
  std::shared_ptr<const Program> program;
  std::function<void()> finished;  // called once, on some thread of the pool
  // Of a run that is timed: nanoseconds by thread and command, and of the whole.
  std::vector<std::vector<int64_t>> spent;
  int64_t began = 0, took = 0;
  uint64_t serial = 0;
  std::atomic<uint64_t> ticket{0};  // stage << 32 | next task
  std::atomic<int> done{0};         // tasks of the stage that have ended
};

class Pool {
 public:
  explicit Pool(int threads);
  // Ends the threads after their current tasks; programs that have not finished never will.
  ~Pool();

  int threads() const { return static_cast<int>(threads_.size()); }
  void submit(std::shared_ptr<Run> run);

 private:
  void work(int id);
  void work_on(Run& run, int id);
  void finish(Run& run);
  void wait_for_stage_after(const Run& run, uint64_t stage);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Run>> queue_;  // the first is running
  uint64_t serial_ = 0;
  std::atomic<int> sleepers_{0};  // threads asleep within a program
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace dejavu
