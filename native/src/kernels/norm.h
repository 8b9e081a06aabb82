// norm, crossEntropy and rowSums: reductions over rows.
#pragma once

namespace dejavu::DEJAVU_ISA::norm {

DEJAVU_OPERANDS(x, weight, bias, y);
DEJAVU_PARAMS(eps, rms);

static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[0], 4 * c.operand[x].size(), threads);
}

// Sum over a row of (x - mean)^power, power 1 or 2.
template <int power>
static float moment(const float* row, int64_t E, float mean) {
  V total = zero();
  const auto term = [&](V v) {
    const V centred = sub(v, set(mean));
    return power == 1 ? centred : mul(centred, centred);
  };
  int64_t e = 0;
  for (; e + W <= E; e += W) total = add(total, term(load(row + e)));
  float rest = 0;
  for (; e < E; e++) rest += power == 1 ? row[e] - mean : (row[e] - mean) * (row[e] - mean);
  return sum(total) + rest;
}

static void run(const Command& c, int task, float*) {
  const auto [T, E] = c.operand[x].matrix();
  const float *w = c.operand[weight].f32(), *b = c.operand[bias].f32();
  const Range rows = share(T, task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const float* row = c.operand[x].f32() + t * E;
    float* out = c.operand[y].f32() + t * E;
    const float count = static_cast<float>(E);
    const float mean = c.param[rms] != 0 ? 0 : moment<1>(row, E, 0) / count;
    const float variance = moment<2>(row, E, mean) / count;
    const float scale = 1 / sqrtf(variance + static_cast<float>(c.param[eps]));
    for (int64_t e = 0; e < E; e++)
      out[e] = (row[e] - mean) * scale * (w ? w[e] : 1) + (b ? b[e] : 0);
  }
}

static constexpr Kernel kernel{"norm", operands, params, 1u << weight | 1u << bias, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::norm

namespace dejavu::DEJAVU_ISA::cross_entropy {

DEJAVU_OPERANDS(logits, targets, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[logits].dim[0], 8 * c.operand[logits].size(), threads);
}

static float largest(const float* row, int64_t n) {
  V top = set(-__builtin_inff());
  int64_t i = 0;
  for (; i + W <= n; i += W) top = max(top, load(row + i));
  float most = peak(top);
  for (; i < n; i++) most = row[i] > most ? row[i] : most;
  return most;
}

// log Σ exp(row), summed in f64 from one vector of terms to the next.
static double log_sum(const float* row, int64_t n, float top) {
  double total = 0;
  int64_t i = 0;
  for (; i + W <= n; i += W) total += sum(exp(sub(load(row + i), set(top))));
  if (i < n) {
    float rest[W];
    store(rest, exp(sub(load(row + i, n - i), set(top))));
    for (int64_t k = 0; k < n - i; k++) total += rest[k];
  }
  return log(total) + top;
}

static void run(const Command& c, int task, float*) {
  const auto [T, N] = c.operand[logits].matrix();
  const Range rows = share(T, task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const float* row = c.operand[logits].f32() + t * N;
    const int32_t target = c.operand[targets].i32()[t];
    c.operand[y].f32()[t] =
        target < 0 ? 0 : static_cast<float>(log_sum(row, N, largest(row, N)) - row[target]);
  }
}

static constexpr Kernel kernel{"crossEntropy", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::cross_entropy

namespace dejavu::DEJAVU_ISA::row_sums {

DEJAVU_OPERANDS(x, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[0], c.operand[x].size(), threads);
}

static float row_sum(const float* row, int64_t E) {
  constexpr int chains = 4;
  V total[chains];
  for (int i = 0; i < chains; i++) total[i] = zero();
  int64_t e = 0;
  for (; e + chains * W <= E; e += chains * W)
    for (int i = 0; i < chains; i++) total[i] = add(total[i], load(row + e + i * W));
  for (; e < E; e += W) total[0] = add(total[0], load(row + e, least(W, E - e)));
  return sum(add(add(total[0], total[1]), add(total[2], total[3])));
}

static void run(const Command& c, int task, float*) {
  const auto [N, E] = c.operand[x].matrix();
  const Range rows = share(N, task, c.tasks);
  for (int64_t n = rows.begin; n < rows.end; n++)
    c.operand[y].f32()[n] = row_sum(c.operand[x].f32() + n * E, E);
}

static constexpr Kernel kernel{"rowSums", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::row_sums
