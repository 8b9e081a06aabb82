#include "program.h"

#include <algorithm>
#include <chrono>

namespace dejavu {

int64_t now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

size_t Stage::command_of(int task) const {
  const auto after = std::upper_bound(first.begin(), first.end(), task);
  return static_cast<size_t>(after - first.begin()) - 1;
}

void Stage::run(int task, float* workspace, int64_t* nanoseconds) const {
  const auto run_one = [&](size_t i, int of) {
    const int64_t start = nanoseconds ? now() : 0;
    commands[i].kernel->run(commands[i], of, workspace);
    if (nanoseconds) nanoseconds[static_cast<size_t>(before) + i] += now() - start;
  };
  const size_t i = command_of(task);
  run_one(i, task - first[i]);
  for (size_t next = first.size(); next < commands.size(); next++) run_one(next, 0);
}

Span Stage::reads(int task, int64_t piece, int64_t ended) const {
  const size_t i = command_of(task);
  const Command& command = commands[i];
  if (!command.kernel->reads || command.chosen_in >= ended) return {};
  return command.kernel->reads(command, task - first[i], piece);
}

namespace {

// Takes numbers off a tape; once it has run out, or met one that is out of range, `ok` stays false.
struct Reader {
  const double* at;
  const double* end;
  bool ok = true;

  double number() {
    if (at == end) ok = false;
    return ok ? *at++ : 0;
  }
  int64_t integer(int64_t least, int64_t most) {
    const double value = number();
    ok = ok && value >= static_cast<double>(least) && value <= static_cast<double>(most);
    return ok ? static_cast<int64_t>(value) : least;
  }
};

constexpr int64_t far = int64_t{1} << 52;

Operand read_operand(Reader& in, const std::vector<std::shared_ptr<Memory>>& memory) {
  Operand operand;
  const int64_t place = in.integer(-1, static_cast<int64_t>(memory.size()) - 1);
  if (place < 0) return operand;
  const int64_t offset = in.integer(0, far);
  operand.type = static_cast<DType>(in.integer(0, dtypes.count - 1));
  operand.rank = static_cast<int>(in.integer(0, max_rank));
  for (int i = 0; i < operand.rank; i++) operand.dim[i] = in.integer(0, int64_t{1} << 31);
  const Memory& home = *memory[static_cast<size_t>(place)];
  const int64_t room = static_cast<int64_t>(home.bytes()) - offset;
  in.ok = in.ok && room >= 0 && static_cast<double>(operand.size()) * 0.5 <= 2.0 * room &&
          operand.bytes() <= room;
  operand.data = home.data() + offset;
  return operand;
}

}  // namespace

std::shared_ptr<Program> Program::parse(const double* tape, size_t length,
                                        std::vector<std::shared_ptr<Memory>> memory,
                                        const KernelTable& table, int threads,
                                        std::string* error) {
  auto program = std::make_shared<Program>();
  size_t workspace = 0;
  std::vector<int64_t> place;  // of each stage of the tape, among ours
  Reader in{tape, tape + length};
  while (in.ok && in.at < in.end) {
    Stage stage;
    place.push_back(static_cast<int64_t>(program->stages.size()));
    const int64_t commands = in.integer(1, far);
    if (!in.ok || place.size() > most_stages) {
      *error = "stage " + std::to_string(place.size() - 1);
      return nullptr;
    }
    for (int64_t c = 0; c < commands && in.ok; c++) {
      Command command;
      const Kernel& kernel = table.kernels[in.integer(0, table.count - 1)];
      command.kernel = &kernel;
      command.chosen_in = in.integer(-1, static_cast<int64_t>(place.size()) - 1);
      if (command.chosen_in >= 0) command.chosen_in = place[static_cast<size_t>(command.chosen_in)];
      for (int i = 0; i < kernel.operands.count; i++) {
        command.operand[i] = read_operand(in, memory);
        in.ok = in.ok && (command.operand[i].data || (kernel.optional >> i & 1));
      }
      for (int i = 0; i < kernel.params.count; i++) command.param[i] = in.number();
      if (!in.ok) {
        *error = std::string("command ") + std::to_string(c) + " (" + kernel.op + ") of stage " +
                 std::to_string(place.size() - 1);
        return nullptr;
      }
      command.tasks = kernel.tasks ? std::max(1, kernel.tasks(command, threads)) : 1;
      if (kernel.workspace) workspace = std::max(workspace, kernel.workspace(command));
      const size_t shared = kernel.shared && command.tasks > 1 ? kernel.shared(command) : 0;
      if (shared) {
        program->shared.push_back(Memory::allocate(shared));
        if (!program->shared.back()) {
          *error = "memory that tasks share";
          return nullptr;
        }
        command.shared = program->shared.back()->data();
      }
      stage.first.push_back(stage.tasks);
      stage.tasks += command.tasks;
      stage.commands.push_back(command);
    }
    stage.before = program->commands;
    program->commands += static_cast<int>(stage.commands.size());
    if (stage.tasks == 1 && place.back() > 0 && program->stages.back().tasks == 1) {
      program->stages.back().commands.push_back(stage.commands[0]);
      place.back()--;
    } else {
      program->stages.push_back(std::move(stage));
    }
  }
  for (int i = 0; workspace && i < threads; i++) {
    program->workspaces.push_back(Memory::allocate(workspace));
    if (!program->workspaces.back()) {
      *error = std::to_string(workspace) + " bytes of workspace";
      return nullptr;
    }
  }
  program->memory = std::move(memory);
  return program;
}

}  // namespace dejavu
