// linearTransposed, path `rows`: sums over rows in flight, of any type, a few rows at a time.
#pragma once

#include "sums.h"

namespace dejavu::DEJAVU_ISA::linear_transposed {

// sums [T, E] += x · w over R rows in flight; `ahead`: rows to prefetch meanwhile. The bits of one
// activation do not depend on the others.
template <class D, int R>
static void add_rows(const uint8_t* const* rows, const uint8_t* const* ahead, const float* factor,
                 int64_t T, Columns E, float* sums) {
  typename D::Row row[R];
  for (int r = 0; r < R; r++) row[r] = D::row(rows[r], E);
  const int64_t bytes = row_bytes(D::type, E);
  const int64_t step = R * (bytes * group_size / E + 1);
  Ahead next(ahead, R, 0, bytes);
  for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
    e1 = chunk_end(e0, E);
    for (int r = 0; r < R; r++) row[r].prepare(e0, e1);
    int64_t i = e0;
    for (; i + group_size <= e1; i += group_size) {
      next.ask(step);
      for (int64_t t = 0; t < T; t++) {
        V term[R];
        for (int r = 0; r < R; r++) term[r] = row[r].term(i, factor[t * R + r]);
#pragma GCC unroll 8
        for (int s = 0; s < group_size; s += W) {
          float* place = sums + t * E + i + s;
          V sum = load(place);
          for (int r = 0; r < R; r++) sum = row[r].plus(sum, term[r], i, s);
          store(place, sum);
        }
      }
    }
    for (int s = 0; i + s < e1; s += W)
      for (int64_t t = 0; t < T; t++) {
        const int64_t n = least(W, e1 - i - s);
        float* place = sums + t * E + i + s;
        V sum = load(place, n);
        for (int r = 0; r < R; r++) sum = fma(row[r].at(i, s, n), set(factor[t * R + r]), sum);
        store(place, sum, n);
      }
  }
}

// sums [T, E] = x · w over inputs begin … end-1 of those chosen; `factor` is room for their x.
template <class D>
static void sum_rows(const Command& c, Chosen inputs, Range range, int64_t t0, int64_t T, float* sums,
                 float* factor) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t stride = row_bytes(weights.type, E);
  const float* input = c.operand[x].f32() + t0 * N;
  memset(sums, 0, sizeof(float) * static_cast<size_t>(T * E));
  const auto at = [&](int64_t i) { return weights.data + inputs[least(i, range.end - 1)] * stride; };
  for (int64_t i = range.begin, n; i < range.end; i += n) {
    n = range.end - i >= rows_at_once ? rows_at_once : 1;
    const uint8_t* rows[rows_at_once];
    const uint8_t* ahead[rows_at_once];
    for (int64_t r = 0; r < n; r++) {
      rows[r] = at(i + r);
      ahead[r] = at(i + r + rows_at_once);
      for (int64_t t = 0; t < T; t++) factor[t * n + r] = input[t * N + inputs[i + r]];
    }
    if (n == 1)
      add_rows<D, 1>(rows, ahead, factor, T, E, sums);
    else
      add_rows<D, rows_at_once>(rows, ahead, factor, T, E, sums);
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
