// How 4-bit codes are multiplied in pairs of rows, for SIMD layers that keep columns in their order. Included
// by such a layer, in the namespace of its instruction set.
#pragma once

#include <math.h>
#include <stdint.h>

namespace dejavu::DEJAVU_ISA {

// Codes of rows in pairs, times whole numbers: columns of a step, and where column i of a step lies in its
// sums.
constexpr int64_t pair_columns = 32;
static inline int64_t pair_place(int64_t i) { return i; }
// Pairs of 16-bit factors of 16 groups; adds the factors to `totals`.
static inline void pair_factors(const float* a, float by_a, const float* b, float by_b,
                                int32_t* pairs, int32_t* totals) {
  for (int g = 0; g < 16; g++) {
    const int low = static_cast<int>(rintf(a[g] * by_a)), high = static_cast<int>(rintf(b[g] * by_b));
    totals[g] += low + high;
    pairs[g] = static_cast<int32_t>((static_cast<uint32_t>(high) << 16) | (low & 0xffff));
  }
}

}  // namespace dejavu::DEJAVU_ISA
