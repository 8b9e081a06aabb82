// linear, path `code_tiles`: some activations rounded to int8, by tiles of whole numbers.
#pragma once

#include "results.h"

namespace dejavu::DEJAVU_ISA::linear {

static size_t code_tiles_bytes(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  return static_cast<size_t>(results_bytes(T) + CodeColumns::bytes(T, c.operand[w].dim[1]));
}

// The task's outputs for all activations: `batch` rows of weights are unpacked at a time.
template <class Q, class M = CodeTiles>
static void run_code_tiles(const Command& c, int task, float* results) {
  const int64_t T = c.operand[x].dim[0];
  const Columns E = c.operand[w].columns();
  const int64_t stride = row_bytes(Q::type, E);
  const uint8_t* weights = c.operand[w].data;
  const Chosen outputs = chosen(c.operand[select], 0, c.operand[w].dim[0],
                                static_cast<int64_t>(c.param[block]));
  const Range range = share(outputs.size(), task, c.tasks);
  if (range.begin == range.end) return;
  uint8_t* room = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  const auto input = CodeColumns::of<Q, M>(c.operand[x], room);
  [[maybe_unused]] const M ready;
  for (int64_t i = range.begin; i < range.end; i += batch) {
    int64_t rows[2 * batch];
    const uint8_t* place[2 * batch];
    outputs.list(i, 2 * batch, range.end, rows);
    for (int64_t r = 0; r < 2 * batch; r++) place[r] = weights + rows[r] * stride;
    tile_dots<Q, M>(place, place + batch, input, E, results, T, batch);
    finish(c, rows, least(batch, range.end - i), 0, T, results);
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear
