// linear: its operands and parameters, and how a batch of results becomes outputs.
#pragma once

namespace dejavu::DEJAVU_ISA::linear {

DEJAVU_OPERANDS(x, w, bias, select, y);
DEJAVU_PARAMS(activation, block);

constexpr int64_t batch = 32;  // rows whose results are written together

static int64_t results_bytes(int64_t T) {
  return round_up(T * batch * static_cast<int64_t>(sizeof(float)), 64);
}

// Adds the bias of output rows[i], activates and writes `count` results of each of T activations.
static void finish(const Command& c, const int64_t* rows, int64_t count, int64_t t0, int64_t T,
                   float* results) {
  const int64_t N = c.operand[w].dim[0];
  const auto by = static_cast<Activation>(static_cast<int>(c.param[activation]));
  const bool one_run = rows[count - 1] - rows[0] == count - 1;
  const float* offset = c.operand[bias].data ? c.operand[bias].f32() : nullptr;
  float gathered[batch];
  if (offset && one_run) offset += rows[0];
  if (offset && !one_run) {
    for (int64_t i = 0; i < count; i++) gathered[i] = offset[rows[i]];
    offset = gathered;
  }
  for (int64_t t = 0; t < T; t++) {
    float* row = results + t * batch;
    float* out = c.operand[y].f32() + (t0 + t) * N;
    for (int64_t i = 0; i < count; i += W) {
      const int64_t n = least(W, count - i);
      V sums = load(row + i);
      if (offset) sums = add(sums, load(offset + i, n));
      store(one_run ? out + rows[0] + i : row + i, activate(by, sums), n);
    }
    for (int64_t i = 0; !one_run && i < count; i++) out[rows[i]] = row[i];
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear
