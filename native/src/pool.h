// Threads that run programs, one program at a time.
//
// Each of a stage's first tasks is meant for one thread, the others are for whoever comes first; whoever
// ends the stage's last task opens the next. No thread waits for another to arrive: what is meant for
// one that wakes late others take in the end. A thread that waits for a stage knows what it will read
// there, and asks memory for it meanwhile.
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

class Ahead;

struct Run {
  std::shared_ptr<const Program> program;
  std::function<void()> finished;  // called once, on some thread of the pool
  // Of a run that is timed: nanoseconds by thread and command, and of the whole.
  std::vector<std::vector<int64_t>> spent;
  int64_t began = 0, took = 0;
  uint64_t serial = 0;
  std::atomic<uint64_t> ticket{0};  // the stage and its tasks that are taken, see pool.cc
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
  void wait_for_stage_after(const Run& run, uint64_t stage, int id, Ahead& ahead);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Run>> queue_;  // the first is running
  std::atomic<uint64_t> newest_{0};  // serial number of what was submitted last
  std::atomic<int> sleepers_{0};  // threads asleep within a program
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace dejavu
