// linearTransposed: y[t] = Σ_n x[t, n] · w[n] + bias + add[t], all n or those selected.
//
// A task owns a range of inputs n, whose rows are one run of memory, and adds them up in ascending
// order; whichever task ends last adds the tasks' sums, in their order. The ranges follow from the shape
// alone. So the bits depend neither on threads nor on what is selected: a row with x of 0, or one left
// out, changes none. With many activations a task owns columns instead (panels.h, tiles.h).
//
// Codes of int4 rows are multiplied by whole numbers (codes.h): those sums are exact, and their order does
// not matter. From 8 activations on, tiles round (tiles.h, few_tiles.h); then rows that are left out change
// bits.
#pragma once

#include "linear_transposed/codes.h"
#include "linear_transposed/few_tiles.h"
#include "linear_transposed/panels.h"
#include "linear_transposed/rows.h"
#include "linear_transposed/tiles.h"

namespace dejavu::DEJAVU_ISA::linear_transposed {

// Weights that make a task worth its sum, and most tasks.
constexpr int64_t task_weights = 1 << 16, large_task_weights = 1 << 20;
constexpr int64_t most_tasks = 8;

// How a command is computed; each path is a file of linear_transposed/.
enum class Path { rows, codes, panels, few_tiles, tiles };

// With fewer than `tiles_from` activations, or a selection for each, a task owns inputs. From there on rows of
// weights are decoded once for all activations: to panels of f32, or to tiles of bf16 where the instruction
// set has them; up to 16 activations fill one row of tiles, and 4-bit codes then become tiles undecoded.
static Path path_of(const Command& c) {
  const int64_t T = c.operand[x].dim[0], E = c.operand[w].dim[1];
  const int bits = format_of(c.operand[w].type).bits;
  if (T < tiles_from || per_row(c.operand[select])) return bits == 4 ? Path::codes : Path::rows;
  if (FewTiles::here && T <= tile_side && bits == 4 && E % group_size == 0) return Path::few_tiles;
  return Tiles::here && bits ? Path::tiles : Path::panels;
}

static int tasks(const Command& c, int threads) {
  const Operand& weights = c.operand[w];
  const auto [N, E] = weights.matrix();
  const int64_t T = c.operand[x].dim[0];
  const Path path = path_of(c);
  if (path == Path::tiles)  // each task packs the activations for itself
    return static_cast<int>(
        least(split(tiles_in(E, tile_columns), weights.size(), threads), 2 * threads));
  if (path == Path::panels) return split(most(1, E / panel_columns), weights.size() * T, threads);
  const int64_t blocks = N / static_cast<int64_t>(c.param[block]);
  const int64_t at_most = least(most_tasks, most(4, weights.size() / large_task_weights));
  const int64_t wanted = most((N + most_code_rows - 1) / most_code_rows,
                              least(weights.size() / task_weights, at_most));
  return static_cast<int>(most(1, least(blocks, wanted)));
}

static size_t workspace(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  switch (path_of(c)) {
    case Path::rows:
      return sums_bytes(c) + sizeof(float) * static_cast<size_t>(rows_at_once * T);
    case Path::codes:
      return sums_bytes(c) + CodeSums<DType::int4>::room(c.operand[w].dim[1]);
    case Path::few_tiles:
      return sums_bytes(c) + sizeof(FewRoom);
    case Path::panels:
      return sizeof(float) * static_cast<size_t>(panel_rows * (panel_columns + T));
    case Path::tiles:
      return tiles_bytes(c);
  }
  return 0;
}

// Tasks that own inputs share: how many have ended, the sums of each, and of 4-bit codes the peaks of scales.
static size_t shared(const Command& c) {
  const Path path = path_of(c);
  if (path == Path::panels || path == Path::tiles) return 0;
  const bool codes = format_of(c.operand[w].type).bits == 4;
  const size_t peaks = codes ? sizeof(float) * static_cast<size_t>(c.operand[w].dim[0]) : 0;
  return count_bytes + static_cast<size_t>(c.tasks) * sums_bytes(c) + peaks;
}

// Paths of which a task owns inputs: whichever ends last adds the sums of all.
static void run_sums(const Command& c, int task, Path path, float* workspace) {
  const auto [N, E] = c.operand[w].matrix();
  const int64_t T = c.operand[x].dim[0];
  const int64_t size = static_cast<int64_t>(c.param[block]);
  const int64_t each = per_row(c.operand[select]) ? 1 : T;
  float* parts = c.tasks > 1 ? reinterpret_cast<float*>(c.shared + count_bytes) : workspace;
  float* sums = parts + task * T * E;
  float* room = workspace + T * E;
  with_weights(c.operand[w].type, [&](auto type) {
    using D = decltype(type);
    for (int64_t t = 0; t < T; t += each) {
      const Chosen inputs = chosen(c.operand[select], t, N, size);
      const Range mine = inputs_of(inputs, N / size, task, c.tasks);
      if constexpr (FewTiles::here && format_of(D::type).bits == 4)
        if (path == Path::few_tiles) {
          sum_by_tiles<D>(c, inputs, mine, sums, *reinterpret_cast<FewRoom*>(room));
          continue;
        }
      if constexpr (format_of(D::type).bits == 4)
        sum_codes<D>(c, inputs, mine, t, each, sums + t * E, room);
      else
        sum_rows<D>(c, inputs, mine, t, each, sums + t * E, room);
    }
  });
  if (c.tasks > 1) {
    int* ended = reinterpret_cast<int*>(c.shared);
    if (__atomic_add_fetch(ended, 1, __ATOMIC_ACQ_REL) < c.tasks) return;
    __atomic_store_n(ended, 0, __ATOMIC_RELAXED);
  }
  for (int64_t t = 0; t < T; t++) finish(c, t, {0, E}, parts + t * E, c.tasks, T * E);
}

static void run(const Command& c, int task, float* workspace) {
  const Path path = path_of(c);
  if constexpr (Tiles::here) {
    if (path == Path::tiles)
      return with_weights(c.operand[w].type, [&](auto type) {
        using D = decltype(type);
        if constexpr (format_of(D::type).bits)
          run_tiles<D>(c, task, reinterpret_cast<uint8_t*>(workspace));
      });
  }
  if (path == Path::panels) return run_panels(c, task, workspace);
  run_sums(c, task, path, workspace);
}

static Span reads(const Command& c, int task, int64_t piece) {
  const Path path = path_of(c);
  if (path == Path::panels || path == Path::tiles || per_row(c.operand[select])) return {};
  const int64_t N = c.operand[w].dim[0], size = static_cast<int64_t>(c.param[block]);
  const Chosen inputs = chosen(c.operand[select], 0, N, size);
  return piece_of(c.operand[w], inputs, inputs_of(inputs, N / size, task, c.tasks), piece);
}

static constexpr Kernel kernel{"linearTransposed",
                               operands,
                               params,
                               1u << bias | 1u << add | 1u << select,
                               tasks,
                               workspace,
                               run,
                               shared,
                               reads};

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
