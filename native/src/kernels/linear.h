// linear: y[t, n] = act(x[t] · w[n] + bias[n]), all n or those selected.
#pragma once

#include "linear/code_tiles.h"
#include "linear/codes.h"
#include "linear/floats.h"
#include "linear/tiles.h"

namespace dejavu::DEJAVU_ISA::linear {

// How a command is computed; each path is a file of linear/.
enum class Path { floats, codes, code_tiles, tiles };

// From `tiles_from` activations on, where the instruction set has tiles and one selection holds for all, a
// panel of weights is unpacked once and meets all of them: in tiles of whole numbers up to `most_code_tiled`
// activations, in tiles of bf16 beyond.
static Path path_of(const Command& c) {
  const int64_t T = c.operand[x].dim[0];
  if (c.operand[x].type != DType::int8) return Path::floats;
  if (T < tiles_from || per_row(c.operand[select])) return Path::codes;
  if (CodeTiles::here && T <= most_code_tiled) return Path::code_tiles;
  return Tiles::here ? Path::tiles : Path::codes;
}

static int tasks(const Command& c, int threads) {
  const Operand& weights = c.operand[w];
  if (path_of(c) == Path::tiles)  // each task packs the activations for itself
    return static_cast<int>(least(split(tiles_in(weights.dim[0], batch), weights.size(), threads),
                                  2 * threads));
  const int64_t rows = per_row(c.operand[select]) ? 1 : c.operand[x].dim[0];
  return split(weights.dim[0], weights.size() * rows, threads);
}

static size_t workspace(const Command& c) {
  switch (path_of(c)) {
    case Path::floats:
      return floats_bytes(c);
    case Path::codes:
      return codes_bytes(c);
    case Path::code_tiles:
      return code_tiles_bytes(c);
    case Path::tiles:
      return tiles_bytes(c);
  }
  return 0;
}

static void run(const Command& c, int task, float* results) {
  const Operand& weights = c.operand[w];
  const int64_t T = c.operand[x].dim[0];
  const int64_t each = per_row(c.operand[select]) ? 1 : T;
  const Path path = path_of(c);
  if constexpr (Tiles::here) {
    if (path == Path::tiles)
      return with_weights(weights.type, [&](auto type) {
        using D = decltype(type);
        if constexpr (format_of(D::type).bits) run_tiles<D>(c, task, results);
      });
  }
  if constexpr (CodeTiles::here) {
    if (path == Path::code_tiles)
      return with_codes(weights.type, [&](auto q) { run_code_tiles<decltype(q)>(c, task, results); });
  }
  memset(results, 0, static_cast<size_t>(T * batch) * sizeof(float));
  if (path == Path::codes)
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

static Span reads(const Command& c, int task, int64_t piece) {
  if (per_row(c.operand[select])) return {};
  const Chosen outputs =
      chosen(c.operand[select], 0, c.operand[w].dim[0], static_cast<int64_t>(c.param[block]));
  const int64_t together = path_of(c) == Path::tiles ? batch : 1;
  return piece_of(c.operand[w], outputs, share(outputs.size(), task, c.tasks, together), piece);
}

static constexpr Kernel kernel{
    "linear", operands, params, 1u << bias | 1u << select, tasks, workspace, run, nullptr, reads};

}  // namespace dejavu::DEJAVU_ISA::linear
