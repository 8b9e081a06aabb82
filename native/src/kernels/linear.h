// linear: y[t, n] = act(x[t] · w[n] + bias[n]), all n or those selected.
#pragma once

namespace dejavu::DEJAVU_ISA::linear {

enum { x, w, bias, select, y };
enum { activation, block };

constexpr int64_t batch = 32;  // rows whose results are written together

// Above this many activations a batch of rows is decoded once, not once for each tile.
constexpr int64_t decode_above = 2 * dot_cols;

static int tasks(const Command& c, int threads) {
  const Operand& weights = c.operand[w];
  const int64_t rows = per_row(c.operand[select]) ? 1 : c.operand[x].dim[0];
  return split(weights.dim[0], weights.size() * rows, threads);
}

static int64_t results_bytes(int64_t T) {
  return round_up(T * batch * static_cast<int64_t>(sizeof(float)), 64);
}

static size_t workspace(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  const int64_t E = c.operand[w].dim[1];
  if (c.operand[x].type == DType::int8) {
    int64_t row = 0;
    with_codes(c.operand[w].type, [&](auto q) {
      using Row = CodedRow<decltype(q)>;
      row = Row::bytes(E) + static_cast<int64_t>(sizeof(Row));
    });
    return static_cast<size_t>(results_bytes(T) + T * row);
  }
  const int64_t panel = T > decode_above && c.operand[w].type != DType::f32 ? batch * E : 0;
  return sizeof(float) * static_cast<size_t>(T * batch + panel);
}

// Adds the bias of output rows[i], activates and writes `count` results of each of T activations.
static void finish(const Command& c, const int64_t* rows, int64_t count, int64_t t0, int64_t T,
                   float* results) {
  const int64_t N = c.operand[w].dim[0];
  const int code = static_cast<int>(c.param[activation]);
  float offset[batch] = {};
  if (c.operand[bias].data)
    for (int64_t i = 0; i < count; i++) offset[i] = c.operand[bias].f32()[rows[i]];
  for (int64_t t = 0; t < T; t++) {
    float* row = results + t * batch;
    float* out = c.operand[y].f32() + (t0 + t) * N;
    for (int64_t i = 0; i < batch; i += W)
      store(row + i, activate(code, add(load(row + i), load(offset + i))));
    if (rows[count - 1] - rows[0] == count - 1)
      memcpy(out + rows[0], row, static_cast<size_t>(count) * sizeof(float));
    else
      for (int64_t i = 0; i < count; i++) out[rows[i]] = row[i];
  }
}

// Outputs begin … end-1 of `outputs` for activations t0 … t0+T-1.
template <class D>
static void project(const Command& c, Chosen outputs, Range range, int64_t t0, int64_t T,
                    float* results) {
  const Operand& weights = c.operand[w];
  const int64_t E = weights.dim[1];
  const int64_t stride = row_bytes(weights.type, E);
  const float* input = c.operand[x].f32() + t0 * E;
  float* panel = results + c.operand[x].dim[0] * batch;
  const auto at = [&](int64_t i) { return weights.data + outputs[i] * stride; };
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch];
    const uint8_t* place[batch + dot_rows];
    for (int64_t r = 0; r < count; r++) rows[r] = outputs[i + r];
    for (int64_t r = 0; r < count + dot_rows; r++) place[r] = at(least(i + r, range.end - 1));
    if (T > decode_above) {
      const bool decoded = weights.type == DType::f32;
      for (int64_t r = 0; !decoded && r < count; r++) {
        decode_row<D>(D::row(place[r], E), 0, E, panel + r * E);
        place[r] = reinterpret_cast<const uint8_t*>(panel + r * E);
      }
      dots<F32>(place, nullptr, count, input, E, T, E, results, batch);
    } else {
      for (int64_t r = 0; r < count; r += dot_rows)
        dots<D>(place + r, place + r + dot_rows, least(dot_rows, count - r), input, E, T, E,
                results + r, batch);
    }
    finish(c, rows, count, t0, T, results);
  }
}

// The same for activations rounded to int8.
template <class Q>
static void project_codes(const Command& c, Chosen outputs, Range range, int64_t t0, int64_t T,
                          float* results, const CodedRow<Q>* input) {
  const int64_t E = c.operand[w].dim[1];
  const int64_t stride = row_bytes(Q::type, E);
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch];
    const uint8_t* place[batch + Q::rows];
    for (int64_t r = 0; r < count; r++) rows[r] = outputs[i + r];
    for (int64_t r = 0; r < count + Q::rows; r++)
      place[r] = c.operand[w].data + outputs[least(i + r, range.end - 1)] * stride;
    const bool one_run = rows[count - 1] - rows[0] == count - 1;
    code_dots<Q>(place, place + Q::rows, one_run, count, input + t0, T, E, results, batch);
    finish(c, rows, count, t0, T, results);
  }
}

template <class Q>
static void run_codes(const Command& c, int task, int64_t each, float* results) {
  const Operand& input = c.operand[x];
  const auto [T, E] = input.matrix();
  uint8_t* room = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  auto* rows = reinterpret_cast<CodedRow<Q>*>(room + T * CodedRow<Q>::bytes(E));
  for (int64_t t = 0; t < T; t++, room += CodedRow<Q>::bytes(E))
    rows[t] = CodedRow<Q>::of(input.data + t * row_bytes(DType::int8, E), E, room);
  for (int64_t t = 0; t < T; t += each) {
    const Chosen outputs = chosen(c.operand[select], t, c.operand[w].dim[0],
                                  static_cast<int64_t>(c.param[block]));
    project_codes<Q>(c, outputs, share(outputs.size(), task, c.tasks), t, each, results, rows);
  }
}

static void run(const Command& c, int task, float* results) {
  const Operand& weights = c.operand[w];
  const int64_t T = c.operand[x].dim[0];
  const int64_t each = per_row(c.operand[select]) ? 1 : T;
  memset(results, 0, sizeof(float) * static_cast<size_t>(T * batch));
  if (c.operand[x].type == DType::int8)
    return with_codes(weights.type,
                      [&](auto q) { run_codes<decltype(q)>(c, task, each, results); });
  with_weights(weights.type, [&](auto type) {
    for (int64_t t = 0; t < T; t += each) {
      const Chosen outputs = chosen(c.operand[select], t, weights.dim[0],
                                    static_cast<int64_t>(c.param[block]));
      project<decltype(type)>(c, outputs, share(outputs.size(), task, c.tasks), t, each, results);
    }
  });
}

static constexpr Kernel kernel{"linear", 5, 2, 1u << bias | 1u << select, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::linear
