// union, pool, blank: what rows of a step share.
#pragma once

namespace dejavu::DEJAVU_ISA::union_of {

DEJAVU_OPERANDS(select, shared);

static size_t workspace(const Command& c) {
  return static_cast<size_t>(c.operand[select].dim[1] - 1);
}

static void run(const Command& c, int, float* workspace) {
  const auto [R, stride] = c.operand[select].matrix();
  uint8_t* found = reinterpret_cast<uint8_t*>(workspace);
  memset(found, 0, static_cast<size_t>(stride - 1));
  for (int64_t r = 0; r < R; r++) {
    const Chosen row = chosen(c.operand[select], r, stride - 1);
    for (int64_t i = 0; i < row.count; i++) found[row.index[i]] = 1;
  }
  uint32_t* out = c.operand[shared].u32();
  uint32_t count = 0;
  for (int64_t n = 0; n < stride - 1; n++)
    if (found[n]) out[1 + count++] = static_cast<uint32_t>(n);
  out[0] = count;
}

static constexpr Kernel kernel{"union", operands, {}, 0, nullptr, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::union_of

namespace dejavu::DEJAVU_ISA::pool {

DEJAVU_OPERANDS(scores, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].dim[1] / 64, c.operand[scores].size(), threads);
}

// One vector of columns: positive scores add up; where there is none, the peak is what remains.
static V pooled(const float* score, int64_t R, int64_t N, int64_t n) {
  V sum = zero(), peak = set(-__builtin_inff());
  for (int64_t r = 0; r < R; r++) {
    const V v = load(score + r * N, n);
    sum = add(sum, max(v, zero()));
    peak = max(peak, v);
  }
  return add(sum, min(peak, zero()));
}

static void run(const Command& c, int task, float*) {
  const auto [R, N] = c.operand[scores].matrix();
  const Range columns = share(N, task, c.tasks, 64);
  for (int64_t n = columns.begin; n < columns.end; n += W) {
    const int64_t count = least(W, columns.end - n);
    store(c.operand[y].f32() + n, pooled(c.operand[scores].f32() + n, R, N, count), count);
  }
}

static constexpr Kernel kernel{"pool", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::pool

namespace dejavu::DEJAVU_ISA::blank {

DEJAVU_OPERANDS(select, x);

static void run(const Command& c, int, float*) {
  const int64_t T = c.operand[x].dim[0], N = c.operand[x].dim[1], D = c.operand[x].dim[2];
  for (int64_t t = 0; t < T; t++) {
    const Chosen row = chosen(c.operand[select], t, N);
    float* out = c.operand[x].f32() + t * N * D;
    for (int64_t n = 0, i = 0; n < N; n++)
      if (i < row.count && row.index[i] == n)
        i++;
      else
        memset(out + n * D, 0, static_cast<size_t>(D) * sizeof(float));
  }
}

static constexpr Kernel kernel{"blank", operands, {}, 0, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::blank
