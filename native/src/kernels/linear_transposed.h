// linearTransposed: y[t] = Σ_n x[t, n] · w[n] + bias + add[t], all n or those selected.
//
// A task owns a range of columns and walks the rows in ascending order, so each output is a chain of
// fma from 0 in the order of n: a row with x of 0 changes no bit, nor does the number of tasks.
#pragma once

namespace dejavu::DEJAVU_ISA::linear_transposed {

enum { x, w, bias, add, select, y };
enum { block };

// From this many activations on, rows that all of them use are decoded once for many.
constexpr int64_t pack_from = 8;
constexpr int64_t column_step = 64;
// Columns of a task: memory is read fastest in long runs.
constexpr int64_t least_columns = 256, enough_columns = 1024;

static bool packs(const Command& c) {
  return c.operand[x].dim[0] >= pack_from && !per_row(c.operand[select]);
}

static int tasks(const Command& c, int threads) {
  const Operand& weights = c.operand[w];
  const int64_t rows = per_row(c.operand[select]) ? 1 : c.operand[x].dim[0];
  const int64_t E = weights.dim[1];
  const int64_t ranges = most(E / enough_columns, least(threads, E / least_columns));
  return split(most(1, ranges), weights.size() * rows, threads);
}

static size_t workspace(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  const int64_t floats = packs(c) ? panel_rows * (panel_columns + T)
                                  : (c.operand[w].dim[1] + flow_rows) * T;
  return sizeof(float) * static_cast<size_t>(floats);
}

// sums [T, columns] += x · w over R rows in flight; `ahead`: rows to prefetch meanwhile.
template <class D, int R>
static void flow(const uint8_t* const* rows, const uint8_t* const* ahead, const float* factor,
                 int64_t T, int64_t E, Range columns, float* sums) {
  const int64_t width = columns.end - columns.begin;
  sums -= columns.begin;
  typename D::Row row[R];
  for (int r = 0; r < R; r++) row[r] = D::row(rows[r], E);
  const int64_t bytes = row_bytes(D::type, E);
  const int64_t step = R * (bytes * group_size / E + 1);
  Ahead next(ahead, R, columns.begin * bytes / E, columns.end * bytes / E);
  for (int64_t e0 = columns.begin, e1; e0 < columns.end; e0 = e1) {
    e1 = chunk_end(e0, columns.end);
    for (int r = 0; r < R; r++) row[r].prepare(e0, e1);
    over(
        e0, e1,
        [&](int64_t) { next.ask(step); },
        [&](int64_t i, int s) {
          V v[R];
          for (int r = 0; r < R; r++) v[r] = row[r].at(i, s);
          for (int64_t t = 0; t < T; t++) {
            float* place = sums + t * width + i + s;
            V sum = load(place);
            for (int r = 0; r < R; r++) sum = fma(v[r], set(factor[t * R + r]), sum);
            store(place, sum);
          }
        },
        [&](int64_t i, int s, int64_t n) {
          for (int64_t t = 0; t < T; t++) {
            float* place = sums + t * width + i + s;
            V sum = load(place, n);
            for (int r = 0; r < R; r++) sum = fma(row[r].at(i, s, n), set(factor[t * R + r]), sum);
            store(place, sum, n);
          }
        });
  }
}

template <class D>
static void walk(const Command& c, Chosen inputs, int64_t t0, int64_t T, Range columns,
                 float* sums) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t stride = row_bytes(weights.type, E);
  const int64_t total = inputs.size();
  const float* input = c.operand[x].f32() + t0 * N;
  const int64_t width = columns.end - columns.begin;
  float* factor = sums + T * width;
  memset(sums, 0, sizeof(float) * static_cast<size_t>(T * width));
  const auto at = [&](int64_t i) { return weights.data + inputs[least(i, total - 1)] * stride; };
  for (int64_t i = 0, n; i < total; i += n) {
    n = total - i >= flow_rows ? flow_rows : 1;
    const uint8_t* rows[flow_rows];
    const uint8_t* ahead[flow_rows];
    for (int64_t r = 0; r < n; r++) {
      rows[r] = at(i + r);
      ahead[r] = at(i + r + flow_rows);
      for (int64_t t = 0; t < T; t++) factor[t * n + r] = input[t * N + inputs[i + r]];
    }
    if (n == 1)
      flow<D, 1>(rows, ahead, factor, T, E, columns, sums);
    else
      flow<D, flow_rows>(rows, ahead, factor, T, E, columns, sums);
  }
}

// y's columns = x · w for all activations, a panel of decoded weights at a time.
template <class D>
static void multiply(const Command& c, Chosen inputs, Range columns, float* panel) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t stride = row_bytes(weights.type, E);
  const int64_t T = c.operand[x].dim[0];
  float* gathered = panel + panel_rows * panel_columns;
  for (int64_t t = 0; t < T && inputs.size() == 0; t++)
    memset(c.operand[y].f32() + t * E + columns.begin, 0,
           sizeof(float) * static_cast<size_t>(columns.end - columns.begin));
  for (int64_t k = 0; k < inputs.size(); k += panel_rows) {
    const int64_t depth = least(panel_rows, inputs.size() - k);
    Places a{c.operand[x].f32() + k, N, 1};
    if (inputs.index) {
      for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < depth; i++)
          gathered[t * panel_rows + i] = c.operand[x].f32()[t * N + inputs[k + i]];
      a = {gathered, panel_rows, 1};
    }
    for (int64_t e = columns.begin; e < columns.end; e += panel_columns) {
      const int64_t end = least(e + panel_columns, columns.end);
      for (int64_t i = 0; i < depth; i++)
        decode_row<D>(D::row(weights.data + inputs[k + i] * stride, E), e, end,
                      panel + i * panel_columns);
      outer(T, end - e, depth, a, panel, panel_columns, c.operand[y].f32() + e, E, k == 0);
    }
  }
}

// y[t] = sums + bias + add[t] over a range of columns.
static void finish(const Command& c, int64_t t, Range columns, const float* sums) {
  const int64_t E = c.operand[y].dim[1];
  float* out = c.operand[y].f32() + t * E;
  const float* offset = c.operand[bias].f32();
  const float* residual = c.operand[add].data ? c.operand[add].f32() + t * E : nullptr;
  for (int64_t e = columns.begin; e < columns.end; e++)
    out[e] = (sums[e - columns.begin] + (offset ? offset[e] : 0)) + (residual ? residual[e] : 0);
}

static void run(const Command& c, int task, float* sums) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t T = c.operand[x].dim[0];
  const int64_t size = static_cast<int64_t>(c.param[block]);
  const bool packed = packs(c);
  const Range columns = share(E, task, c.tasks, packed ? panel_columns : column_step);
  const int64_t width = columns.end - columns.begin;
  const int64_t each = per_row(c.operand[select]) ? 1 : T;
  if (width == 0) return;
  with_weights(weights.type, [&](auto type) {
    using D = decltype(type);
    for (int64_t t = 0; t < T; t += each) {
      const Chosen inputs = chosen(c.operand[select], t, N, size);
      if (packed)
        multiply<D>(c, inputs, columns, sums);
      else
        walk<D>(c, inputs, t, each, columns, sums);
      for (int64_t i = 0; i < each; i++)
        finish(c, t + i, columns,
               packed ? c.operand[y].f32() + i * E + columns.begin : sums + i * width);
    }
  });
}

static constexpr Kernel kernel{
    "linearTransposed", 6, 1, 1u << bias | 1u << add | 1u << select, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
