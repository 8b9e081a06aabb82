// linear, path `codes`: activations rounded to int8, products of whole numbers within a group.
#pragma once

#include "results.h"

namespace dejavu::DEJAVU_ISA::linear {

// Results, then each row of activations as its weights meet it.
static size_t codes_bytes(const Command& c) {
  const int64_t T = c.operand[x].dim[0], E = c.operand[w].dim[1];
  int64_t row = 0;
  with_codes(c.operand[w].type, [&](auto q) {
    using Row = CodedRow<decltype(q)>;
    row = Row::bytes(E) + static_cast<int64_t>(sizeof(Row));
  });
  return static_cast<size_t>(results_bytes(T) + T * row);
}

// Outputs begin … end-1 of `outputs` for activations t0 … t0+T-1, whose rows are `input`.
template <class Q>
static void project_codes(const Command& c, Chosen outputs, Range range, int64_t t0, int64_t T,
                          float* results, const CodedRow<Q>* input) {
  const Columns E = c.operand[w].columns();
  const int64_t stride = row_bytes(Q::type, E);
  const uint8_t* weights = c.operand[w].data;
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch + Q::rows];
    const uint8_t* place[batch + Q::rows];
    if constexpr (in_quads<Q>)
      if (quad_rows<Q>(E)) {
        rows[0] = i, rows[count - 1] = i + count - 1;  // of a run no more is looked at
        if (outputs.index) outputs.list(i, count, range.end, rows);
        const bool one_run = rows[count - 1] - rows[0] == count - 1;
        quad_dots<Q>(weights, rows, one_run, count, input + t0, T, E, results, batch);
        finish(c, rows, count, t0, T, results);
        continue;
      }
    outputs.list(i, count + Q::rows, range.end, rows);
    const bool one_run = rows[count - 1] - rows[0] == count - 1;
    if (one_run && short_rows<Q>(E)) {
      short_dots<Q>(weights + rows[0] * stride, weights + c.operand[w].bytes(), count, input + t0, T,
                    E, results, batch);
      finish(c, rows, count, t0, T, results);
      continue;
    }
    for (int64_t r = 0; r < count + Q::rows; r++) place[r] = weights + rows[r] * stride;
    code_dots<Q>(place, place + Q::rows, one_run, count, input + t0, T, E, results, batch);
    finish(c, rows, count, t0, T, results);
  }
}

template <class Q>
static void run_codes(const Command& c, int task, int64_t each, float* results) {
  const Operand& weights = c.operand[w];
  const auto [T, E] = c.operand[x].matrix();
  const int64_t stride = row_bytes(weights.type, weights.dim[1]);
  uint8_t* room = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  auto* rows = reinterpret_cast<CodedRow<Q>*>(room + T * CodedRow<Q>::bytes(E));
  if (each == T) {  // what comes first is asked for while activations are prepared
    const Chosen outputs = chosen(c.operand[select], 0, weights.dim[0],
                                  static_cast<int64_t>(c.param[block]));
    const Range mine = share(outputs.size(), task, c.tasks);
    for (int64_t i = mine.begin; i < least(mine.end, mine.begin + Q::rows); i++)
      for (int64_t at = 0; at < stride; at += 64)
        __builtin_prefetch(weights.data + outputs[i] * stride + at);
  }
  for (int64_t t = 0; t < T; t++, room += CodedRow<Q>::bytes(E))
    rows[t] = CodedRow<Q>::of(c.operand[x].data + t * row_bytes(DType::int8, E), E, room);
  for (int64_t t = 0; t < T; t += each) {
    const Chosen outputs = chosen(c.operand[select], t, weights.dim[0],
                                  static_cast<int64_t>(c.param[block]));
    project_codes<Q>(c, outputs, share(outputs.size(), task, c.tasks), t, each, results, rows);
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear
