// divergence: y[t] = Σ p · (log p - log q) for p = softmax(reference[t]) and q = softmax(logits[t]).
#pragma once

namespace dejavu::DEJAVU_ISA::divergence {

DEJAVU_OPERANDS(logits, reference, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[logits].dim[0], 16 * c.operand[logits].size(), threads);
}

// Σ exp(p[v]) · (p[v] - q[v]) over log-probabilities `row + offset`, summed in f64.
static double weighted_gap(const float* p, float p_offset, const float* q, float q_offset,
                           int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += W) {
    const int64_t count = least(W, n - i);
    const V mine = add(load(p + i, count), set(p_offset));
    const V terms = mul(exp(mine), sub(mine, add(load(q + i, count), set(q_offset))));
    if (count == W) {
      total += sum(terms);
      continue;
    }
    float rest[W];
    store(rest, terms);
    for (int64_t k = 0; k < count; k++) total += rest[k];
  }
  return total;
}

static void run(const Command& c, int task, float*) {
  const auto [T, N] = c.operand[logits].matrix();
  const Range rows = share(T, task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const float* q = c.operand[logits].f32() + t * N;
    const float* p = c.operand[reference].f32() + t * N;
    const auto offset = [&](const float* row) {
      return static_cast<float>(-cross_entropy::log_sum(row, N, cross_entropy::largest(row, N)));
    };
    c.operand[y].f32()[t] = static_cast<float>(weighted_gap(p, offset(p), q, offset(q), N));
  }
}

static constexpr Kernel kernel{"divergence", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::divergence
