// linear, path `floats`: activations in f32, weights of any type.
#pragma once

#include "results.h"

namespace dejavu::DEJAVU_ISA::linear {

// Above this many activations a batch of rows is decoded once, not once for each tile.
constexpr int64_t decode_above = 2 * dot_cols;

static size_t floats_bytes(const Command& c) {
  const int64_t T = c.operand[x].dim[0], E = c.operand[w].dim[1];
  const int64_t panel = T > decode_above && c.operand[w].type != DType::f32 ? batch * E : 0;
  return sizeof(float) * static_cast<size_t>(T * batch + panel);
}

// Outputs begin … end-1 of `outputs` for activations t0 … t0+T-1.
template <class D>
static void project(const Command& c, Chosen outputs, Range range, int64_t t0, int64_t T,
                    float* results) {
  const Operand& weights = c.operand[w];
  const Columns E = weights.columns();
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

}  // namespace dejavu::DEJAVU_ISA::linear
