#include "pool.h"

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace dejavu {

namespace {
// How long a thread waits before it falls asleep: for a stage, longer than most stages; for the next
// program, a fiftieth of what the last one took, and no longer than it takes to choose a token. It would wake
// tens of microseconds late, and waking it costs another thread as much. Soon others may have the processor.
constexpr int64_t awake_nanoseconds = 200'000, awake_between = 500'000, alone_nanoseconds = 20'000;
constexpr int64_t awake_share = 50;

// How much a thread asks memory for before a stage begins, a part of a second cache; and how many stages
// ahead it looks for something to ask for.
constexpr int64_t most_asked = 256 << 10;
constexpr uint64_t farthest_stage = 8;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

// Polls until `over` holds, doing `meanwhile` where that has something to do, for so long at most; returns
// whether it holds.
template <class Over, class Meanwhile>
bool stay_awake(int64_t nanoseconds, Over over, Meanwhile meanwhile) {
  const int64_t start = now();
  for (int64_t waited = 0; waited < nanoseconds; waited = now() - start) {
    for (int i = 0; i < 16; i++) {
      if (over()) return true;
      if (!meanwhile()) pause();
    }
    if (waited > alone_nanoseconds) std::this_thread::yield();
  }
  return false;
}

// A ticket: the stage, which threads have taken the task meant for them, and how many of the others are
// taken.
constexpr int own_tasks = 12, stage_shift = 44, own_shift = 32;
uint64_t stage_of(uint64_t ticket) { return ticket >> stage_shift; }

// Takes a task of the stage for a thread; -1 when all are taken.
int take(std::atomic<uint64_t>& ticket, const std::vector<Stage>& stages, int threads, int id,
         uint64_t* stage) {
  for (uint64_t seen = ticket.load();;) {
    *stage = stage_of(seen);
    if (*stage >= stages.size()) return -1;
    const int tasks = stages[*stage].tasks;
    const int own = std::min(std::min(threads, own_tasks), tasks);
    const int others = static_cast<int>(seen & 0xffffffff);
    const auto taken = [&](int of) { return seen >> (own_shift + of) & 1; };
    int task = own + others;
    if (id < own && !taken(id)) {
      task = id;
    } else if (task >= tasks) {
      for (task = 0; task < own && taken(task);) task++;
      if (task == own) return -1;
    }
    const uint64_t then = seen + (task < own ? uint64_t{1} << (own_shift + task) : 1);
    if (ticket.compare_exchange_weak(seen, then)) return task;
  }
}
}  // namespace

// What a thread asks memory for while it waits: what tasks meant for it in coming stages will read.
class Ahead {
 public:
  explicit Ahead(const std::vector<Stage>& stages) : stages_(stages) {}

  // A stage is waited for to end.
  void wait(uint64_t stage) {
    waited_ = stage;
    looked_ = stage + 1;
  }

  // Asks for a little; false when nothing is left that is known and near.
  bool ask(int id) {
    const uint64_t end = std::min<uint64_t>(stages_.size(), waited_ + 1 + farthest_stage);
    for (; looked_ < end; looked_++) {
      if (id >= std::min(own_tasks, stages_[looked_].tasks)) continue;
      Asked& asked = asked_[looked_ % (farthest_stage + 1)];
      if (asked.stage != looked_) asked = {looked_, 0, most_asked, {}};
      if (asked.rest.bytes <= 0 && asked.left > 0) {
        asked.rest = stages_[looked_].reads(id, asked.piece, static_cast<int64_t>(waited_));
        if (asked.rest.bytes > 0) asked.piece++;
      }
      const int64_t bytes = std::min(std::min(asked.rest.bytes, asked.left), at_once);
      if (bytes <= 0) continue;
      for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(asked.rest.data + at, 0, 2);
      asked.rest = {asked.rest.data + bytes, asked.rest.bytes - bytes};
      asked.left -= bytes;
      return true;
    }
    return false;
  }

 private:
  static constexpr int64_t at_once = 4 * 64;

  struct Asked {
    uint64_t stage;
    int64_t piece, left;
    Span rest;  // of the piece before
  };

  const std::vector<Stage>& stages_;
  uint64_t waited_ = 0, looked_ = 0;
  Asked asked_[farthest_stage + 1] = {};
};

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
    run->serial = ++newest_;
    queue_.push_back(std::move(run));
  }
  changed_.notify_all();
}

void Pool::work(int id) {
  int64_t awake = 0;
  for (uint64_t seen = 0;;) {
    const auto more = [&] { return newest_.load() > seen || stop_.load(); };
    stay_awake(awake, more, [] { return false; });
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
    const int64_t start = now();
    work_on(*run, id);
    awake = std::min(awake_between, (now() - start) / awake_share);
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
  Ahead ahead(program.stages);
  while (!stop_.load(std::memory_order_relaxed)) {
    uint64_t stage;
    const int task = take(run.ticket, program.stages, threads(), id, &stage);
    if (stage >= count) return;
    const Stage& current = program.stages[stage];
    if (task < 0) {
      wait_for_stage_after(run, stage, id, ahead);
      continue;
    }
    current.run(task, workspace, spent);
    if (run.done.fetch_add(1) + 1 < current.tasks) continue;
    run.done.store(0);
    run.ticket.store((stage + 1) << stage_shift);
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

void Pool::wait_for_stage_after(const Run& run, uint64_t stage, int id, Ahead& ahead) {
  const auto moved = [&] { return stage_of(run.ticket.load()) != stage || stop_.load(); };
  ahead.wait(stage);
  if (stay_awake(awake_nanoseconds, moved, [&] { return ahead.ask(id); })) return;
  sleepers_.fetch_add(1);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, moved);
  }
  sleepers_.fetch_sub(1);
}

}  // namespace dejavu
