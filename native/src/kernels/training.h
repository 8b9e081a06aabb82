// What training adds: weightGradient, reluGradient, bceGradient, adam.
#pragma once

namespace dejavu::DEJAVU_ISA::weight_gradient {

DEJAVU_OPERANDS(dy, x, dw, dbias);

static int tasks(const Command& c, int threads) {
  const Operand& out = c.operand[dw];
  return split(out.dim[0] / mul_rows, out.size() * c.operand[x].dim[0], threads);
}

// Room for the rows of a task: the first has most.
static int64_t rows_per_task(const Command& c) {
  return round_up(share(c.operand[dw].dim[0], 0, c.tasks, mul_rows).end, mul_rows);
}

static size_t workspace(const Command& c) {
  return sizeof(float) * static_cast<size_t>(panel_rows * (panel_columns + rows_per_task(c)));
}

// Both operands are packed: their columns lie far apart.
static void run(const Command& c, int task, float* slopes) {
  const auto [T, N] = c.operand[dy].matrix();
  const int64_t E = c.operand[x].dim[1];
  const float *slope = c.operand[dy].f32(), *input = c.operand[x].f32();
  float *out = c.operand[dw].f32(), *sums = c.operand[dbias].f32();
  const Range rows = share(N, task, c.tasks, mul_rows);
  const int64_t count = rows.end - rows.begin;
  float* panel = slopes + panel_rows * rows_per_task(c);
  for (int64_t n = rows.begin; n < rows.end; n++) sums[n] = 0;
  for (int64_t t0 = 0; t0 < T; t0 += panel_rows) {
    const int64_t depth = least(panel_rows, T - t0);
    for (int64_t t = 0; t < depth; t++)
      for (int64_t n = 0; n < count; n++) {
        const float s = slope[(t0 + t) * N + rows.begin + n];
        sums[rows.begin + n] += s;
        slopes[n / mul_rows * panel_rows * mul_rows + t * mul_rows + n % mul_rows] = s;
      }
    for (int64_t e = 0; e < E; e += panel_columns) {
      const int64_t width = least(panel_columns, E - e);
      for (int64_t t = 0; t < depth; t++)
        memcpy(panel + t * panel_columns, input + (t0 + t) * E + e,
               static_cast<size_t>(width) * sizeof(float));
      for (int64_t n = 0; n < count; n += mul_rows)
        outer(least(mul_rows, count - n), width, depth, {slopes + n * panel_rows, 1, mul_rows},
              panel, panel_columns, out + (rows.begin + n) * E + e, E, t0 == 0);
    }
  }
}

static constexpr Kernel kernel{"weightGradient", operands, {}, 0, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::weight_gradient

namespace dejavu::DEJAVU_ISA::relu_gradient {

DEJAVU_OPERANDS(dy, y, dx);

static int tasks(const Command& c, int threads) {
  return split(c.operand[y].size() / 64, c.operand[y].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const float *slope = c.operand[dy].f32(), *value = c.operand[y].f32();
  float* out = c.operand[dx].f32();
  const Range range = share(c.operand[y].size(), task, c.tasks, 64);
  for (int64_t i = range.begin; i < range.end; i++) out[i] = value[i] > 0 ? slope[i] : 0;
}

static constexpr Kernel kernel{"reluGradient", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::relu_gradient

namespace dejavu::DEJAVU_ISA::bce_gradient {

DEJAVU_OPERANDS(scores, labels, ds, losses);
DEJAVU_PARAMS(negative);

static int tasks(const Command& c, int threads) {
  return split(c.operand[scores].dim[0], 16 * c.operand[scores].size(), threads);
}

// log(1 + z) for z in [0, 1]: twice the inverse hyperbolic tangent of z / (2 + z).
static V log1p(V z) {
  const V u = div(z, add(z, set(2)));
  const V square = mul(u, u);
  V p = set(2.0f / 15);
  for (int n = 13; n > 0; n -= 2) p = fma(p, square, set(2.0f / static_cast<float>(n)));
  return mul(p, u);
}

static void run(const Command& c, int task, float*) {
  const auto [T, N] = c.operand[scores].matrix();
  const float inactive = static_cast<float>(c.param[negative]);
  const Range rows = share(T, task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const float *score = c.operand[scores].f32() + t * N, *label = c.operand[labels].f32() + t * N;
    float* slope = c.operand[ds].f32() + t * N;
    double total = 0;
    for (int64_t n = 0; n < N; n += W) {
      const int64_t width = least(W, N - n);
      const V s = load(score + n, width), l = load(label + n, width);
      const V weight = where_positive(l, l, set(inactive));
      const V active = where_positive(l, set(1), zero());
      const V p = gated(set(1), s);
      store(slope + n, div(mul(weight, sub(p, active)), set(static_cast<float>(T))), width);
      const V toward = where_positive(l, sub(zero(), s), s);
      const V loss = mul(weight, add(max(toward, zero()), log1p(exp(sub(zero(), abs(s))))));
      float lane[W];
      store(lane, loss);
      for (int64_t i = 0; i < width; i++) total += lane[i];
    }
    c.operand[losses].f32()[t] = static_cast<float>(total / static_cast<double>(N));
  }
}

static constexpr Kernel kernel{"bceGradient", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::bce_gradient

namespace dejavu::DEJAVU_ISA::adam {

DEJAVU_OPERANDS(gradient, schedule, w, m, v);
DEJAVU_PARAMS(beta1, beta2, eps, decay);

static int tasks(const Command& c, int threads) {
  return split(c.operand[w].size() / 64, 4 * c.operand[w].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const float* slope = c.operand[gradient].f32();
  float *weight = c.operand[w].f32(), *first = c.operand[m].f32(), *second = c.operand[v].f32();
  const float *now = c.operand[schedule].f32(), rate = now[0], fix1 = now[1], fix2 = now[2];
  const float keep1 = static_cast<float>(c.param[beta1]), keep2 = static_cast<float>(c.param[beta2]);
  const float take1 = static_cast<float>(1 - c.param[beta1]);
  const float take2 = static_cast<float>(1 - c.param[beta2]);
  const float tiny = static_cast<float>(c.param[eps]), shrink = static_cast<float>(c.param[decay]);
  const Range range = share(c.operand[w].size(), task, c.tasks, 64);
  for (int64_t i = range.begin; i < range.end; i++) {
    first[i] = keep1 * first[i] + take1 * slope[i];
    second[i] = keep2 * second[i] + take2 * slope[i] * slope[i];
    const float step = first[i] * fix1 / (sqrtf(second[i] * fix2) + tiny);
    weight[i] -= rate * (step + shrink * weight[i]);
  }
}

static constexpr Kernel kernel{"adam", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::adam
