// linearTransposed, path `codes`: sums over rows of 4-bit codes, exact within a range of inputs.
#pragma once

#include "sums.h"

namespace dejavu::DEJAVU_ISA::linear_transposed {

// sums [T, E] = x · w over inputs begin … end-1 of those chosen, one activation after the other; `room` is
// CodeSums'. Tasks share what they learn of the peaks of scales, in memory behind their sums.
template <class D>
static void sum_codes(const Command& c, Chosen inputs, Range range, int64_t t0, int64_t T,
                       float* sums, float* room) {
  const auto [N, E] = c.operand[w].matrix();
  const size_t before = count_bytes + static_cast<size_t>(c.tasks) * sums_bytes(c);
  float* peaks = c.tasks > 1 ? reinterpret_cast<float*>(c.shared + before) : nullptr;
  for (int64_t t = 0; t < T; t++)
    CodeSums<D::type>{c.operand[w].data, E, inputs, range, c.operand[x].f32() + (t0 + t) * N, peaks}
        .run(sums + t * E, room);
}

}  // namespace dejavu::DEJAVU_ISA::linear_transposed
