// A compiled recording: commands by stage, each split into tasks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "memory.h"
#include "tensor.h"

namespace dejavu {

// Nanoseconds since some moment.
int64_t now();

// Commands whose tasks run side by side; or, where there is one task, commands that it runs one after the other:
// handing such stages from thread to thread would take as long as they do.
struct Stage {
  std::vector<Command> commands;
  std::vector<int> first;  // first task of each command, of a chain 0 alone
  int tasks = 0;
  int before = 0;  // commands of earlier stages

  // `nanoseconds`, where not null, has a place for each command of the program, which the time is added to.
  void run(int task, float* workspace, int64_t* nanoseconds) const;
  // What a task will read (`Kernel::reads`), as far as that is known once the stages before `ended` have ended.
  Span reads(int task, int64_t piece, int64_t ended) const;

 private:
  size_t command_of(int task) const;
};

// As many as a ticket of the pool can tell apart.
constexpr size_t most_stages = size_t{1} << 20;

struct Program {
  std::vector<Stage> stages;
  int commands = 0;
  std::vector<std::shared_ptr<Memory>> memory;  // everything the commands point into
  std::vector<std::shared_ptr<Memory>> workspaces;  // one a thread
  std::vector<std::shared_ptr<Memory>> shared;      // one a command that asks for it

  // Reads a tape (its layout is told in src/backends/native/tape.ts) whose operands lie in `memory`.
  // Null, and `error` says why, when the tape does not fit itself, the kernels or the memory.
  static std::shared_ptr<Program> parse(const double* tape, size_t length,
                                        std::vector<std::shared_ptr<Memory>> memory,
                                        const KernelTable& table, int threads, std::string* error);
};

}  // namespace dejavu
