// A compiled recording: commands by stage, each split into tasks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "memory.h"
#include "tensor.h"

namespace dejavu {

struct Stage {
  std::vector<Command> commands;
  std::vector<int> first;  // first task of each command
  int tasks = 0;

  void run(int task, float* workspace) const;
};

struct Program {
  std::vector<Stage> stages;
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
