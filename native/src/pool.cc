#include "pool.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace dejavu {

namespace {
// How long a thread waits for a stage before it falls asleep, longer than most stages: it would wake tens of
// microseconds late, and waking it costs another thread as much. Soon others may have the processor.
constexpr int64_t awake_nanoseconds = 200'000, alone_nanoseconds = 20'000;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}
}  // namespace

Pool::Pool(int threads) {
  for (int id = 0; id < threads; id++) threads_.emplace_back([this, id] { work(id); });
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Pool::submit(std::shared_ptr<Run> run) {
  if (run->program->stages.empty()) {
    run->finished();
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    run->serial = ++serial_;
    queue_.push_back(std::move(run));
  }
  changed_.notify_all();
}

void Pool::work(int id) {
  for (uint64_t seen = 0;;) {
    std::shared_ptr<Run> run;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] {
        return stop_ || (!queue_.empty() && queue_.front()->serial > seen);
      });
      if (stop_) return;
      run = queue_.front();
    }
    seen = run->serial;
    work_on(*run, id);
  }
}

void Pool::work_on(Run& run, int id) {
  const Program& program = *run.program;
  const uint64_t count = program.stages.size();
  float* workspace =
      program.workspaces.empty()
          ? nullptr
          : reinterpret_cast<float*>(program.workspaces[static_cast<size_t>(id)]->data());
  int64_t* spent = run.spent.empty() ? nullptr : run.spent[static_cast<size_t>(id)].data();
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t ticket = run.ticket.fetch_add(1);
    const uint64_t stage = ticket >> 32;
    const int task = static_cast<int>(ticket & 0x7fffffff);
    if (stage >= count) return;
    const Stage& current = program.stages[stage];
    if (task >= current.tasks) {
      wait_for_stage_after(run, stage);
      continue;
    }
    current.run(task, workspace, spent);
    if (run.done.fetch_add(1) + 1 < current.tasks) continue;
    run.done.store(0);
    run.ticket.store((stage + 1) << 32);
    if (stage + 1 == count) return finish(run);
    if (sleepers_.load() > 0) {
      { std::lock_guard<std::mutex> lock(mutex_); }
      changed_.notify_all();
    }
  }
}

void Pool::finish(Run& run) {
  bool more;
  if (run.began) run.took = now() - run.began;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.pop_front();
    more = !queue_.empty();
  }
  if (more || sleepers_.load() > 0) changed_.notify_all();
  run.finished();
}

void Pool::wait_for_stage_after(const Run& run, uint64_t stage) {
  const auto moved = [&] { return run.ticket.load() >> 32 != stage || stop_.load(); };
  const int64_t start = now();
  for (int64_t waited = 0; waited < awake_nanoseconds; waited = now() - start) {
    for (int i = 0; i < 16; i++) {
      if (moved()) return;
      pause();
    }
    if (waited > alone_nanoseconds) std::this_thread::yield();
  }
  sleepers_.fetch_add(1);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, moved);
  }
  sleepers_.fetch_sub(1);
}

}  // namespace dejavu
