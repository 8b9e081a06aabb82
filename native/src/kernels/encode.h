// encode: rows of f32 in any weight type. What a code means is told in src/tensor.ts.
#pragma once

namespace dejavu::DEJAVU_ISA::encode {

enum { x, y };

static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[0], 4 * c.operand[x].size(), threads);
}

// Bits of the nearest f16, ties to even; beyond its range, infinity.
static uint16_t to_f16(float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  const uint32_t sign = word >> 16 & 0x8000u;
  const uint32_t magnitude = word & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x47800000u) {
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    // Below the smallest normal f16: adding 0.5 aligns the wanted bits at the end of the fraction.
    const float shifted = fabsf(value) + 0.5f;
    memcpy(&half, &shifted, 4);
    half -= 0x3f000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

// The element furthest from zero, the first of equals.
static float extreme(const float* group, int64_t n) {
  float found = 0;
  for (int64_t i = 0; i < n; i++)
    if (fabsf(group[i]) > fabsf(found)) found = group[i];
  return found;
}

static int nearest(float value, float step, int low, int high) {
  if (step == 0) return 0;
  const float q = rintf(value / step);
  return q < low ? low : q > high ? high : static_cast<int>(q);
}

// A whole group as int8, as below but W elements at a time: activations are rounded at every step.
static void encode_bytes(const float* group, uint8_t* codes, uint16_t* scale) {
  V top = zero();
  for (int64_t i = 0; i < group_size; i += W) top = max(top, abs(load(group + i)));
  *scale = to_f16(static_cast<float>(static_cast<double>(peak(top)) / 127));
  float step[W];
  store(step, load_f16(scale, 1));
  if (step[0] == 0) return;
  for (int64_t i = 0; i < group_size; i += W) {
    const V q = round(div(load(group + i), set(step[0])));
    store_i8(reinterpret_cast<int8_t*>(codes) + i, max(set(-127), min(set(127), q)));
  }
}

static void encode_group(DType type, const float* group, int64_t n, uint8_t* codes,
                         uint16_t* scale) {
  const bool bytes = type == DType::int8;
  const double furthest = static_cast<double>(extreme(group, n));
  *scale = to_f16(static_cast<float>(bytes ? fabs(furthest) / 127 : furthest / -8));
  float decoded[W];
  store(decoded, load_f16(scale, 1));
  for (int64_t i = 0; i < (bytes ? n : group_size); i++) {
    const int low = bytes ? -127 : -8, high = bytes ? 127 : 7;
    const int q = i < n ? nearest(group[i], decoded[0], low, high) : 0;
    if (bytes)
      codes[i] = static_cast<uint8_t>(q);
    else
      codes[i % 16] |= static_cast<uint8_t>((q + 8) << (i & 16 ? 4 : 0));
  }
}

static void encode_row(DType type, const float* row, int64_t E, uint8_t* out) {
  if (type == DType::f32) {
    memcpy(out, row, static_cast<size_t>(E) * sizeof(float));
  } else if (type == DType::f16) {
    for (int64_t e = 0; e < E; e++) reinterpret_cast<uint16_t*>(out)[e] = to_f16(row[e]);
  } else {
    memset(out, 0, static_cast<size_t>(row_bytes(type, E)));
    uint16_t* scales = reinterpret_cast<uint16_t*>(out + code_bytes(type, E));
    int64_t e = 0;
    for (; type == DType::int8 && e + group_size <= E; e += group_size)
      encode_bytes(row + e, out + e, scales + e / group_size);
    for (; e < E; e += group_size)
      encode_group(type, row + e, least(group_size, E - e),
                   out + (type == DType::int8 ? e : e / 2), scales + e / group_size);
  }
}

static void run(const Command& c, int task, float*) {
  const Operand& to = c.operand[y];
  const auto [N, E] = to.matrix();
  const Range rows = share(N, task, c.tasks);
  for (int64_t n = rows.begin; n < rows.end; n++)
    encode_row(to.type, c.operand[x].f32() + n * E, E, to.data + n * row_bytes(to.type, E));
}

static constexpr Kernel kernel{"encode", 2, 0, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::encode
