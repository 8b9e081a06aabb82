// linearTransposed, path `panels`: many activations, a panel of decoded weights at a time.
#pragma once

#include "sums.h"

namespace dejavu::DEJAVU_ISA::linear_transposed {

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

static void run_panels(const Command& c, int task, float* panel) {
  const auto [N, E] = c.operand[w].matrix();
  const int64_t T = c.operand[x].dim[0];
  const Chosen inputs = chosen(c.operand[select], 0, N, static_cast<int64_t>(c.param[block]));
  const Range columns = share(E, task, c.tasks, panel_columns);
  if (columns.begin == columns.end) return;
  with_weights(c.operand[w].type,
               [&](auto type) { multiply<decltype(type)>(c, inputs, columns, panel); });
  for (int64_t t = 0; t < T; t++) finish(c, t, columns, c.operand[y].f32() + t * E, 1, 0);
}

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
