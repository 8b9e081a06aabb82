// attention: from products of queries and keys to weights.
#pragma once

namespace dejavu::DEJAVU_ISA::attention {

// weights[s] = exp(scale * (weights[s] - their peak)); returns their sum.
static float soften(float* weights, int64_t n, float by) {
  V top = set(-__builtin_inff());
  int64_t s = 0;
  for (; s + W <= n; s += W) top = max(top, mul(set(by), load(weights + s)));
  float peaks = peak(top);
  for (; s < n; s++) peaks = by * weights[s] > peaks ? by * weights[s] : peaks;
  V sums = zero();
  for (s = 0; s + W <= n; s += W) {
    const V e = exp(sub(mul(set(by), load(weights + s)), set(peaks)));
    sums = dejavu::DEJAVU_ISA::add(sums, e);
    store(weights + s, e);
  }
  float total = sum(sums);
  if (s < n) {
    float rest[W];
    store(rest, exp(sub(mul(set(by), load(weights + s, n - s)), set(peaks))));
    for (int64_t i = 0; i < n - s; i++) total += weights[s + i] = rest[i];
  }
  return total;
}

// weights[s] = scale * weights[s] + slope * (how far s is from the row, which is negative): in places, where
// there are some, else in the order of the n.
static void lean(float* weights, int64_t n, float scale, float slope, const int32_t* place) {
  float lanes[W];
  for (int i = 0; i < W; i++) lanes[i] = static_cast<float>(i);
  const V steps = load(lanes);
  for (int64_t s = 0; s < n; s += W) {
    V away = dejavu::DEJAVU_ISA::add(steps, set(static_cast<float>(s + 1 - n)));
    if (place) {
      for (int64_t i = 0; i < least(W, n - s); i++)
        lanes[i] = static_cast<float>(place[s + i] - place[n - 1]);
      away = load(lanes);
    }
    const V bias = mul(set(slope), away);
    if (s + W <= n)
      store(weights + s, fma(set(scale), load(weights + s), bias));
    else
      store(weights + s, fma(set(scale), load(weights + s, n - s), bias), n - s);
  }
}

}  // namespace dejavu::DEJAVU_ISA::attention
