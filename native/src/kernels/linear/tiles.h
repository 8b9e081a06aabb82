// linear, path `tiles`: many activations rounded to int8, by tiles of bf16.
#pragma once

#include "results.h"

namespace dejavu::DEJAVU_ISA::linear {

// Results, then sums, a panel of weights, and all activations as right tiles.
static size_t tiles_bytes(const Command& c) {
  const int64_t T = c.operand[x].dim[0], E = c.operand[w].dim[1];
  const int64_t tiles = tiles_in(T, tile_side) * (2 + tiles_in(E, tile_depth));
  return static_cast<size_t>(results_bytes(T) + (tiles + 2 * panel_depth / tile_depth) * tile_bytes);
}

// The task's outputs for all activations: `batch` rows of weights are decoded to tiles at a time.
template <class D, class M = Tiles>
static void run_tiles(const Command& c, int task, float* results) {
  const Operand& weights = c.operand[w];
  const int64_t T = c.operand[x].dim[0];
  const Columns E = weights.columns();
  const int64_t stride = row_bytes(weights.type, E);
  const int64_t depth = tiles_in(E, tile_depth), across = tiles_in(T, tile_side);
  uint8_t* sums = reinterpret_cast<uint8_t*>(results) + results_bytes(T);
  uint8_t* panel = sums + 2 * across * tile_bytes;
  uint8_t* right = panel + 2 * panel_depth / tile_depth * tile_bytes;
  const Chosen outputs =
      chosen(c.operand[select], 0, weights.dim[0], static_cast<int64_t>(c.param[block]));
  const Range range = share(outputs.size(), task, c.tasks, batch);
  if (range.begin == range.end) return;
  pack_right<M>(c.operand[x], right);
  [[maybe_unused]] const M ready;
  for (int64_t i = range.begin; i < range.end; i += batch) {
    const int64_t count = least(batch, range.end - i);
    int64_t rows[batch];
    const uint8_t* place[batch];
    const uint8_t* ahead[batch];
    for (int64_t r = 0; r < count; r++) {
      rows[r] = outputs[i + r];
      place[r] = weights.data + rows[r] * stride;
    }
    for (int64_t e0 = 0, e1; e0 < E; e0 = e1) {
      e1 = least(e0 + panel_depth, E);
      for (int64_t r = 0; r < count; r++)
        ahead[r] = e1 < E ? place[r] + code_bytes(D::type, e1)
                          : weights.data + outputs[least(i + batch + r, range.end - 1)] * stride;
      panel_left<D, M>(place, ahead, count, E, e0, e1, panel);
      for (int64_t t = 0, n; t < across; t += n) {
        n = least(2, across - t);
        const typename M::Side left{panel, 2 * tile_bytes, tile_bytes};
        const typename M::Side here{right + (t * depth + e0 / tile_depth) * tile_bytes, tile_bytes,
                                    depth * tile_bytes};
        (n == 2 ? M::template multiply<2, 2> : M::template multiply<2, 1>)(
            tiles_in(e1 - e0, tile_depth), left, here, sums + 2 * t * tile_bytes, tile_bytes,
            2 * tile_bytes, e0 == 0);
      }
    }
    for (int64_t t = 0; t < across; t++)
      for (int64_t half = 0; half < 2; half++) {
        const float* tile = reinterpret_cast<const float*>(sums + (2 * t + half) * tile_bytes);
        V lanes[tile_side];
        for (int64_t r = 0; r < tile_side; r++) lanes[r] = load(tile + r * W);
        M::transpose(lanes);
        for (int64_t r = 0; r < least(tile_side, T - t * tile_side); r++)
          store(results + (t * tile_side + r) * batch + half * W, lanes[r]);
      }
    finish(c, rows, count, 0, T, results);
  }
}

}  // namespace dejavu::DEJAVU_ISA::linear
