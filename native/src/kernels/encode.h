// encode: rows of f32 in any weight type. What a code means is told in src/tensor.ts.
#pragma once

namespace dejavu::DEJAVU_ISA::encode {

DEJAVU_OPERANDS(x, y);

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

// The step of 2 bits: what lies further out than its 1.5 is cut off.
static float mean_step(const float* group, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += static_cast<double>(fabsf(group[i]));
  return static_cast<float>(sum / static_cast<double>(n) * 0.4);
}

static float from_f16(uint16_t bits) {
  float value[W];
  store(value, load_f16(&bits, 1));
  return value[0];
}

// The code of `value` above `base`.
static int nearest(float value, float base, float step, int low, int high) {
  if (step == 0) return 0;
  const double above = static_cast<double>(value) - static_cast<double>(base);
  const float q = rintf(static_cast<float>(above / static_cast<double>(step)));
  return q < low ? low : q > high ? high : static_cast<int>(q);
}

// A whole group as int8, as below but W elements at a time: activations are rounded at every step.
static void encode_bytes(const float* group, uint8_t* codes, uint16_t* scale) {
  V top = zero();
  for (int64_t i = 0; i < group_size; i += W) top = max(top, abs(load(group + i)));
  *scale = to_f16(static_cast<float>(static_cast<double>(peak(top)) / 127));
  const float step = from_f16(*scale);
  if (step == 0) return;
  for (int64_t i = 0; i < group_size; i += W) {
    const V q = round(div(load(group + i), set(step)));
    store_i8(reinterpret_cast<int8_t*>(codes) + i, max(set(-127), min(set(127), q)));
  }
}

// Codes of fewer bits than a byte: number i of them, from 0 on.
static void put_code(int bits, uint8_t* codes, int64_t i, int code) {
  const int64_t together = group_size * bits / 8, place = i % group_size;
  codes[i / group_size * together + place % together] |=
      static_cast<uint8_t>(code << place / together * bits);
}

// A group of n elements from `first` on, whose scale and minimum lie at `scale` and `minimum`.
static void encode_group(DType type, const float* row, int64_t first, int64_t n, uint8_t* codes,
                         uint16_t* scale, uint16_t* minimum) {
  const Format format = format_of(type);
  const float* group = row + first;
  float base = 0, step = 0;
  if (format.minima) {
    float lowest = group[0], highest = group[0];
    for (int64_t i = 1; i < n; i++) {
      if (group[i] < lowest) lowest = group[i];
      if (group[i] > highest) highest = group[i];
    }
    base = from_f16(*minimum = to_f16(lowest));
    const double range = static_cast<double>(highest) - static_cast<double>(base);
    step = from_f16(*scale = to_f16(static_cast<float>(range / 15)));
  } else if (format.bits == 2) {
    step = from_f16(*scale = to_f16(mean_step(group, n)));
    base = -1.5f * step;
  } else {
    const double furthest = static_cast<double>(extreme(group, n));
    *scale = to_f16(static_cast<float>(format.bits == 8 ? fabs(furthest) / 127 : furthest / -8));
    step = from_f16(*scale);
  }
  for (int64_t i = 0; i < n; i++) {
    if (format.bits == 8)
      codes[first + i] = static_cast<uint8_t>(nearest(group[i], 0, step, -127, 127));
    else if (format.minima || format.bits == 2)
      put_code(format.bits, codes, first + i,
               nearest(group[i], base, step, 0, (1 << format.bits) - 1));
    else
      put_code(4, codes, first + i, nearest(group[i], 0, step, -8, 7) + 8);
  }
}

static void encode_row(DType type, const float* row, int64_t E, uint8_t* out) {
  const Format format = format_of(type);
  if (type == DType::f32) {
    memcpy(out, row, static_cast<size_t>(E) * sizeof(float));
  } else if (type == DType::f16) {
    for (int64_t e = 0; e < E; e++) reinterpret_cast<uint16_t*>(out)[e] = to_f16(row[e]);
  } else {
    memset(out, 0, static_cast<size_t>(row_bytes(type, E)));
    uint8_t* after = out + code_bytes(type, E);
    uint16_t* scales = reinterpret_cast<uint16_t*>(after);
    uint16_t* minima = reinterpret_cast<uint16_t*>(after + columns_of(type, E).scale_bytes);
    int64_t e = 0;
    for (; format.bits == 8 && e + group_size <= E; e += group_size)
      encode_bytes(row + e, out + e, scales + e / group_size);
    for (; e < E; e += format.group)
      encode_group(type, row, e, least(format.group, E - e), out, scales + e / format.group,
                   minima + e / format.group);
    // Behind the last element codes are 0.
    for (e = E; format.bits == 4 && !format.minima && e < round_up(E, group_size); e++)
      put_code(4, out, e, 8);
  }
}

static void run(const Command& c, int task, float*) {
  const Operand& to = c.operand[y];
  const auto [N, E] = to.matrix();
  const Range rows = share(N, task, c.tasks);
  for (int64_t n = rows.begin; n < rows.end; n++)
    encode_row(to.type, c.operand[x].f32() + n * E, E, to.data + n * row_bytes(to.type, E));
}

static constexpr Kernel kernel{"encode", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::encode
