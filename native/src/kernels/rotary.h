// rotaryAngles and rotary.
#pragma once

namespace dejavu::DEJAVU_ISA::rotary_angles {

DEJAVU_OPERANDS(positions, frequencies, y);
DEJAVU_PARAMS(scale);

static int tasks(const Command& c, int threads) {
  return split(c.operand[positions].dim[0], 64 * c.operand[y].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const int64_t F = c.operand[frequencies].dim[0];
  const Range rows = share(c.operand[positions].dim[0], task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++) {
    float* out = c.operand[y].f32() + t * 2 * F;
    const double position = c.operand[positions].i32()[t];
    for (int64_t i = 0; i < F; i++) {
      const double angle = position * static_cast<double>(c.operand[frequencies].f32()[i]);
      out[i] = static_cast<float>(cos(angle) * c.param[scale]);
      out[F + i] = static_cast<float>(sin(angle) * c.param[scale]);
    }
  }
}

static constexpr Kernel kernel{"rotaryAngles", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::rotary_angles

namespace dejavu::DEJAVU_ISA::rotary {

DEJAVU_OPERANDS(x, angles, y);

static int tasks(const Command& c, int threads) {
  return split(c.operand[x].dim[0], c.operand[x].size(), threads);
}

// The first R of D elements turned by R / 2 cosines and sines; `out` may be `in`.
static void turn(const float* in, const float* cosine, int64_t R, int64_t D, float* out) {
  const int64_t half = R / 2;
  const float* sine = cosine + half;
  int64_t i = 0;
  for (; i + W <= half; i += W) {
    const V a = load(in + i), b = load(in + i + half), by = load(cosine + i), across = load(sine + i);
    store(out + i, sub(mul(a, by), mul(b, across)));
    store(out + i + half, add(mul(b, by), mul(a, across)));
  }
  for (; i < half; i++) {
    const float a = in[i], b = in[i + half];
    out[i] = a * cosine[i] - b * sine[i];
    out[i + half] = b * cosine[i] + a * sine[i];
  }
  if (out != in)
    for (i = 2 * half; i < D; i++) out[i] = in[i];
}

static void run(const Command& c, int task, float*) {
  const int64_t N = c.operand[x].dim[1], D = c.operand[x].dim[2], R = c.operand[angles].dim[1];
  const Range rows = share(c.operand[x].dim[0], task, c.tasks);
  for (int64_t t = rows.begin; t < rows.end; t++)
    for (int64_t n = t * N; n < (t + 1) * N; n++)
      turn(c.operand[x].f32() + n * D, c.operand[angles].f32() + t * R, R, D,
           c.operand[y].f32() + n * D);
}

static constexpr Kernel kernel{"rotary", operands, {}, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::rotary
