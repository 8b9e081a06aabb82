// activate, add, clamp, multiply, magnitude, embed.
#pragma once

namespace dejavu::DEJAVU_ISA::activated {

DEJAVU_OPERANDS(x, y);
DEJAVU_PARAMS(activation);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].size() / 64, 8 * c.operand[y].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const float* in = c.operand[x].f32();
  float* out = c.operand[y].f32();
  const auto by = static_cast<Activation>(static_cast<int>(c.param[activation]));
  const Range range = share(c.operand[y].size(), task, c.tasks, 64);
  for (int64_t i = range.begin; i < range.end; i += W) {
    const int64_t n = least(W, range.end - i);
    store(out + i, activate(by, load(in + i, n)), n);
  }
}

static constexpr Kernel kernel{"activate", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::activated

namespace dejavu::DEJAVU_ISA::sum_of_two {

DEJAVU_OPERANDS(a, b, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].size() / 64, c.operand[y].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const float *left = c.operand[a].f32(), *right = c.operand[b].f32();
  float* out = c.operand[y].f32();
  const Range range = share(c.operand[y].size(), task, c.tasks, 64);
  for (int64_t i = range.begin; i < range.end; i++) out[i] = left[i] + right[i];
}

static constexpr Kernel kernel{"add", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::sum_of_two

namespace dejavu::DEJAVU_ISA::clamp {

DEJAVU_OPERANDS(x, y);
DEJAVU_PARAMS(limit);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].size() / 64, c.operand[y].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const float* in = c.operand[x].f32();
  float* out = c.operand[y].f32();
  const float top = static_cast<float>(c.param[limit]);
  const Range range = share(c.operand[y].size(), task, c.tasks, 64);
  for (int64_t i = range.begin; i < range.end; i++)
    out[i] = in[i] > top ? top : in[i] < -top ? -top : in[i];
}

static constexpr Kernel kernel{"clamp", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::clamp

namespace dejavu::DEJAVU_ISA::multiply {

DEJAVU_OPERANDS(a, b, select, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[a].dim[0], c.operand[a].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const auto [T, N] = c.operand[a].matrix();
  const Range rows = share(T, task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const float *left = c.operand[a].f32() + t * N, *right = c.operand[b].f32() + t * N;
    float* out = c.operand[y].f32() + t * N;
    const Chosen places = chosen(c.operand[select], t, N);
    if (places.index)
      for (int64_t i = 0; i < places.count; i++) {
        const uint32_t n = places.index[i];
        out[n] = left[n] * right[n];
      }
    else
      for (int64_t n = 0; n < N; n++) out[n] = left[n] * right[n];
  }
}

static constexpr Kernel kernel{"multiply", operands, {}, 1u << select, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::multiply

namespace dejavu::DEJAVU_ISA::magnitude {

DEJAVU_OPERANDS(x, scale, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].size(), c.operand[x].size(), threads);
}

static float norm(const float* row, int64_t D) {
  if (D == 1) return fabsf(row[0]);
  V squares = zero();
  int64_t d = 0;
  for (; d + W <= D; d += W) squares = fma(load(row + d), load(row + d), squares);
  if (d < D) squares = fma(load(row + d, D - d), load(row + d, D - d), squares);
  return sqrtf(sum(squares));
}

static void run(const Command& c, int task, float*) {
  const int64_t N = c.operand[x].dim[1], D = c.operand[x].dim[2];
  const float* scales = c.operand[scale].f32();
  const Range range = share(c.operand[y].size(), task, c.tasks);
  for (int64_t i = range.begin; i < range.end; i++)
    c.operand[y].f32()[i] = norm(c.operand[x].f32() + i * D, D) * (scales ? scales[i % N] : 1);
}

static constexpr Kernel kernel{"magnitude", operands, {}, 1u << scale, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::magnitude

namespace dejavu::DEJAVU_ISA::embed {

DEJAVU_OPERANDS(table, ids, add, y);
DEJAVU_PARAMS(offset);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].dim[0], c.operand[y].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const Operand& rows = c.operand[table];
  const Columns E = rows.columns();
  const int64_t stride = row_bytes(rows.type, E);
  const Range range = share(c.operand[ids].dim[0], task, c.tasks);
  with_weights(rows.type, [&](auto type) {
    using D = decltype(type);
    for (int64_t t = range.begin; t < range.end; t++) {
      const int64_t id = c.operand[ids].i32()[t] + static_cast<int64_t>(c.param[offset]);
      float* out = c.operand[y].f32() + t * E;
      decode_row<D>(D::row(rows.data + id * stride, E), 0, E, out);
      if (const float* residual = c.operand[add].f32())
        for (int64_t e = 0; e < E; e++) out[e] += residual[t * E + e];
    }
  });
}

static constexpr Kernel kernel{"embed", operands, params, 1u << add, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::embed
