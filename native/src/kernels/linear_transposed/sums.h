// linearTransposed: its operands and parameters, which inputs are a task's, and how sums become outputs.
#pragma once

namespace dejavu::DEJAVU_ISA::linear_transposed {

DEJAVU_OPERANDS(x, w, bias, add, select, y);
DEJAVU_PARAMS(block);

// Before the sums in shared memory: how many tasks have ended.
constexpr size_t count_bytes = 64;

static size_t sums_bytes(const Command& c) {
  return sizeof(float) * static_cast<size_t>(c.operand[x].dim[0] * c.operand[w].dim[1]);
}

// y[t] = (sums of all tasks, in order) + bias + add[t] over a range of columns.
static void finish(const Command& c, int64_t t, Range columns, const float* sums, int parts,
                   int64_t part_stride) {
  const int64_t E = c.operand[y].dim[1];
  float* out = c.operand[y].f32() + t * E;
  const float* offset = c.operand[bias].f32();
  const float* residual = c.operand[add].data ? c.operand[add].f32() + t * E : nullptr;
  for (int64_t e = columns.begin; e < columns.end; e += W) {
    const int64_t n = least(W, columns.end - e);
    V sum = load(sums + e, n);
    for (int p = 1; p < parts; p++) sum = DEJAVU_ISA::add(sum, load(sums + p * part_stride + e, n));
    if (offset) sum = DEJAVU_ISA::add(sum, load(offset + e, n));
    if (residual) sum = DEJAVU_ISA::add(sum, load(residual + e, n));
    store(out + e, sum, n);
  }
}

// Places among those chosen of the inputs that are this task's.
static Range inputs_of(const Chosen& inputs, int64_t blocks, int task, int tasks) {
  const Range range = share(blocks, task, tasks);
  if (!inputs.index) return {range.begin * inputs.block, range.end * inputs.block};
  const auto first_from = [&](int64_t bound) {
    int64_t low = 0, high = inputs.count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (inputs.index[middle] < bound)
        low = middle + 1;
      else
        high = middle;
    }
    return low * inputs.block;
  };
  return {first_from(range.begin), first_from(range.end)};
}

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
