// store: keys or values of a step into a cache [B, G, S, D] in f32, f16 or int8.
#pragma once

namespace dejavu::DEJAVU_ISA::cache_store {

DEJAVU_OPERANDS(x, sequences, slots, cache);
DEJAVU_PARAMS(sinks);

// By KV heads: rows that come around to one slot are stored in their order.
static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[1], c.operand[x].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const Operand& to = c.operand[cache];
  const int64_t T = c.operand[x].dim[0], G = c.operand[x].dim[1], D = c.operand[x].dim[2];
  const int64_t S = to.dim[2], bytes = row_bytes(to.type, D);
  const int64_t first = static_cast<int64_t>(c.param[sinks]);
  const Range heads = share(G, task, c.tasks);
  for (int64_t t = 0; t < T; t++) {
    int64_t slot = c.operand[slots].i32()[t];
    if (slot >= S) slot = first + (slot - first) % (S - first);
    for (int64_t g = heads.begin; g < heads.end; g++) {
      const int64_t row = (c.operand[sequences].i32()[t] * G + g) * S + slot;
      encode::encode_row(to.type, c.operand[x].f32() + (t * G + g) * D, D, to.data + row * bytes);
    }
  }
}

static constexpr Kernel kernel{"store", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::cache_store
