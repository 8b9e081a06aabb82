// attention: its operands and parameters, how large everything is, and a task's workspace.
#pragma once

namespace dejavu::DEJAVU_ISA::attention {

DEJAVU_OPERANDS(q, keys, values, sequences, slots, select, slopes, places, angles, sink_q, y, received);
DEJAVU_PARAMS(scale, window, sinks, recent, latest);

// Queries that share the reading of keys and values: of heads with one KV head, and of neighbouring rows of
// one text.
constexpr int64_t most_queries = 24;
// Keys, and values, that are read at a time.
constexpr int64_t key_batch = 4 * dot_rows, value_batch = 64;
// How many bytes before they are read memory is asked for keys, at least.
constexpr int64_t reach = 6 << 10;

struct Sizes {
  int64_t T, H, D, G, S;
  int64_t group;   // heads that share a KV head
  int64_t sinks;   // slots before the ring; 0: there is no ring
  int64_t recent;  // others that a row sees; 0: there is no ring
  int64_t rows;    // of a block

  explicit Sizes(const Command& c)
      : T(c.operand[q].dim[0]),
        H(c.operand[q].dim[1]),
        D(c.operand[q].dim[2]),
        G(c.operand[keys].dim[1]),
        S(c.operand[keys].dim[2]),
        group(H / G),
        sinks(c.param[attention::recent] > 0 ? static_cast<int64_t>(c.param[attention::sinks]) : 0),
        recent(static_cast<int64_t>(c.param[attention::recent])),
        rows(most(1, most_queries / group)) {}

  // A weight for each slot; neighbouring lines lie in different sets of the caches.
  int64_t line() const { return round_up(S, 16) + 16; }
  int64_t slot(int64_t position) const {
    return position < S ? position : sinks + (position - sinks) % (S - sinks);
  }
  // Blocks of rows that tasks take. What slots receive is added in the order of rows, by one task.
  int64_t blocks(const Command& c) const {
    return c.operand[received].data ? 1 : (T + rows - 1) / rows;
  }
};

struct Room {
  float *weights, *query, *sink_query, *sums, *decoded;

  Room(const Sizes& z, float* at) : weights(at) {
    const int64_t vectors = most_queries * z.D;
    query = weights + most_queries * z.line();
    sink_query = query + vectors;
    sums = sink_query + vectors;
    decoded = sums + vectors;
  }
  static int64_t size(const Sizes& z) {
    return most_queries * (z.line() + 3 * z.D) + most(key_batch, value_batch) * z.D;
  }
};

}  // namespace dejavu::DEJAVU_ISA::attention
