// How 4-bit codes are multiplied in pairs of rows, for SIMD layers that keep columns in their order. Included
// by such a layer, in the namespace of its instruction set.
#pragma once

#include <math.h>
#include <stdint.h>

namespace dejavu::DEJAVU_ISA {

// Codes of rows in pairs, times whole numbers (code_sums.h): columns of a step, where column i of a step
// lies in its sums, and how many lie together.
constexpr int64_t sum_columns = 32, sum_run = 32;
constexpr int64_t sum_place(int64_t i) { return i; }
constexpr int factor_rows = 2;
// Pairs of 16-bit factors of 16 groups; adds the factors to `totals`.
static inline void whole_factors(const float* const* scales, const float* by, int32_t* factors,
                                 int32_t* totals) {
  for (int g = 0; g < 16; g++) {
    const int low = static_cast<int>(rintf(scales[0][g] * by[0]));
    const int high = static_cast<int>(rintf(scales[1][g] * by[1]));
    totals[g] += low + high;
    factors[g] = static_cast<int32_t>((static_cast<uint32_t>(high) << 16) | (low & 0xffff));
  }
}
// The factor of row r at the group whose factors are those.
static inline int16_t factor_of(const int32_t* factors, int r) {
  return static_cast<int16_t>(factors[r / 2 * 16] >> (r % 2 ? 16 : 0));
}

}  // namespace dejavu::DEJAVU_ISA
