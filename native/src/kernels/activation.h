// exp and the activations of `linear`.
#pragma once

namespace dejavu::DEJAVU_ISA {

// e^x within 2 units in the last place; inputs are clamped to f32's normal range of results.
static inline V exp(V x) {
  x = min(max(x, set(-87.3f)), set(88.3f));
  const V n = round(mul(x, set(1.44269504f)));
  V r = fma(n, set(-0.693359375f), x);  // ln 2 in two parts, the first exact in few bits
  r = fma(n, set(2.12194440e-4f), r);
  V p = set(1.0f / 5040);
  p = fma(p, r, set(1.0f / 720));
  p = fma(p, r, set(1.0f / 120));
  p = fma(p, r, set(1.0f / 24));
  p = fma(p, r, set(1.0f / 6));
  p = fma(p, r, set(0.5f));
  p = fma(p, r, set(1));
  p = fma(p, r, set(1));
  return mul(p, pow2(n));
}

// x times the logistic function of k·x.
static inline V gated(V x, V kx) { return div(x, add(set(1), exp(sub(zero(), kx)))); }

// x · Φ(x), with the complementary error function of Abramowitz & Stegun 7.1.26 (error < 1.5e-7).
static inline V gelu(V x) {
  const V z = mul(abs(x), set(0.707106781f));
  const V t = div(set(1), fma(z, set(0.3275911f), set(1)));
  V p = set(1.061405429f);
  p = fma(p, t, set(-1.453152027f));
  p = fma(p, t, set(1.421413741f));
  p = fma(p, t, set(-0.284496736f));
  p = fma(p, t, set(0.254829592f));
  const V tail = mul(mul(p, t), exp(sub(zero(), mul(z, z))));
  const V below = mul(mul(set(0.5f), x), tail);
  return where_positive(x, sub(x, below), below);
}

// 1 + tanh(u) = 2 · logistic(2u).
static inline V gelu_tanh(V x) {
  const V cube = mul(mul(x, x), x);
  return gated(x, mul(set(1.59576912f), fma(cube, set(0.044715f), x)));
}

// Every activation: its name in src/ops/activation.ts, and what becomes of x. A new one is a line here.
#define DEJAVU_ACTIVATIONS(ACTIVATION)         \
  ACTIVATION(none, x)                          \
  ACTIVATION(relu, where_positive(x, x, zero())) \
  ACTIVATION(gelu, gelu(x))                    \
  ACTIVATION(geluTanh, gelu_tanh(x))           \
  ACTIVATION(silu, gated(x, x))                \
  ACTIVATION(relu2, where_positive(x, mul(x, x), zero()))

enum class Activation {
#define DEJAVU_ACTIVATION(name, result) name,
  DEJAVU_ACTIVATIONS(DEJAVU_ACTIVATION)
#undef DEJAVU_ACTIVATION
};
#define DEJAVU_ACTIVATION(name, result) ", " #name
constexpr Names activations(&(DEJAVU_ACTIVATIONS(DEJAVU_ACTIVATION))[2]);
#undef DEJAVU_ACTIVATION

static inline V activate(Activation activation, V x) {
  switch (activation) {
#define DEJAVU_ACTIVATION(name, result) \
  case Activation::name:                \
    return result;
    DEJAVU_ACTIVATIONS(DEJAVU_ACTIVATION)
#undef DEJAVU_ACTIVATION
  }
  __builtin_trap();  // src/backends/native/tape.ts writes no other
}

}  // namespace dejavu::DEJAVU_ISA
