// Rows of f32 as rows of weights and back, bit for bit as src/rows.ts.
#pragma once

#include <math.h>
#include <string.h>

#include "halves.h"
#include "tensor.h"

namespace dejavu {

// The step of a group without minima: the element furthest from zero decides, of 4 bits as code -8.
inline uint16_t step_for(const float* values, int64_t count, int bits) {
  float peak = 0;
  for (int64_t i = 0; i < count; i++) {
    const float magnitude = fabsf(values[i]);
    peak = magnitude > peak ? magnitude : peak;
  }
  if (bits == 8) return narrow(peak / 127);
  int64_t first = 0;
  while (first < count && !(fabsf(values[first]) >= peak)) first++;
  return narrow((peak > 0 ? values[first] : 0.0f) / -8);
}

// Codes of a group without minima.
inline void round_to(const float* values, int64_t count, float step, float low, float high,
                     int8_t* codes) {
  constexpr float whole = 12582912.0f;  // leaves no room for a fraction
  for (int64_t i = 0; i < count; i++) {
    float x = step == 0 ? 0.0f : values[i] / step;
    x = x > high ? high : x;
    x = x < low ? low : x;
    x = x == x ? x : 0.0f;
    codes[i] = static_cast<int8_t>(static_cast<int32_t>(x + whole - whole));
  }
}

// The step and the minimum of a group, from its least element to its greatest, and its codes.
inline void round_range(const float* values, int64_t count, uint16_t* step, uint16_t* minimum,
                        int8_t* codes) {
  float least = values[0], greatest = values[0];
  for (int64_t i = 1; i < count; i++) {
    if (values[i] < least) least = values[i];
    if (values[i] > greatest) greatest = values[i];
  }
  *minimum = narrow(least);
  const double from = widen(*minimum);
  *step = narrow(static_cast<float>((greatest - from) / 15));
  const double each = widen(*step);
  constexpr double whole = 6755399441055744.0;
  for (int64_t i = 0; i < count; i++) {
    double x = each == 0 ? 0 : static_cast<float>((values[i] - from) / each);
    x = x > 15 ? 15 : x;
    x = x < 0 ? 0 : x;
    x = x == x ? x : 0;
    codes[i] = static_cast<int8_t>(static_cast<int32_t>(x + whole - whole));
  }
}

inline void write_quantized(DType type, const float* values, int64_t columns, uint8_t* row) {
  const Format format = format_of(type);
  const int64_t codes_end = code_bytes(type, columns);
  const Columns shared = columns_of(type, columns);
  memset(row, 0, static_cast<size_t>(row_bytes(type, columns)));
  auto* steps = reinterpret_cast<uint16_t*>(row + codes_end);
  auto* minima = reinterpret_cast<uint16_t*>(row + codes_end + shared.scale_bytes);
  const int bias = format.minima ? 0 : 8;
  for (int64_t first = 0, g = 0; first < columns; first += format.group, g++) {
    int8_t codes[128] = {};
    const int64_t count = columns - first < format.group ? columns - first : format.group;
    if (format.minima)
      round_range(values + first, count, steps + g, minima + g, codes);
    else {
      steps[g] = step_for(values + first, count, format.bits);
      const float high = format.bits == 8 ? 127 : 7;
      round_to(values + first, count, widen(steps[g]), format.bits == 8 ? -127.f : -8.f, high, codes);
    }
    if (format.bits == 8) {
      memcpy(row + first, codes, static_cast<size_t>(count));
      continue;
    }
    for (int64_t part = 0; part < count; part += group_size)
      for (int i = 0; i < 16; i++)
        row[(first + part) / 2 + i] = static_cast<uint8_t>(
            (codes[part + i] + bias) | ((codes[part + i + 16] + bias) << 4));
  }
}

// False where f16 cannot hold a number.
inline bool write_halves(const float* values, int64_t columns, uint16_t* row) {
  uint32_t infinite = 0;
  for (int64_t i = 0; i < columns; i++) {
    row[i] = narrow(values[i]);
    infinite |= ((row[i] & 0x7fffu) + 0x400u) & 0x8000u;
  }
  return !infinite;
}

// One row of any type that weights have in memory; false where it cannot hold a number.
inline bool write_row(DType type, const float* values, int64_t columns, uint8_t* row) {
  if (type == DType::f16) return write_halves(values, columns, reinterpret_cast<uint16_t*>(row));
  if (type == DType::f32)
    memcpy(row, values, static_cast<size_t>(4 * columns));
  else
    write_quantized(type, values, columns, row);
  return true;
}

// Element by element as f32, in order, those of `type`.
template <class Each>
void each_of_row(DType type, const uint8_t* row, int64_t columns, Each each) {
  if (type == DType::f32) {
    for (int64_t i = 0; i < columns; i++) each(reinterpret_cast<const float*>(row)[i]);
    return;
  }
  if (type == DType::f16) {
    for (int64_t i = 0; i < columns; i++) each(widen(reinterpret_cast<const uint16_t*>(row)[i]));
    return;
  }
  const Format format = format_of(type);
  const auto* steps = reinterpret_cast<const uint16_t*>(row + code_bytes(type, columns));
  const auto* minima = steps + columns_of(type, columns).scale_bytes / 2;
  const int low = format.minima ? 0 : -8;
  for (int64_t first = 0; first < columns; first += group_size) {
    const double step = widen(steps[first / format.group]);
    const double minimum = format.minima ? widen(minima[first / format.group]) : -0.0;
    const int64_t count = columns - first < group_size ? columns - first : group_size;
    for (int64_t i = 0; i < count; i++) {
      const int code = format.bits == 8 ? static_cast<int8_t>(row[first + i])
                                        : ((row[first / 2 + (i & 15)] >> (i & 16 ? 4 : 0)) & 15) + low;
      each(static_cast<float>(code * step + minimum));
    }
  }
}

// Sum of squares of a row as it decodes.
inline double row_squares(DType type, const uint8_t* row, int64_t columns) {
  double sum = 0;
  each_of_row(type, row, columns, [&](float x) { sum += static_cast<double>(x) * x; });
  return sum;
}

}  // namespace dejavu
