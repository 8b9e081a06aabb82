// pageBounds, pageScores, choosePages, attendPages: a cache of which each step reads the pages that it chooses.
#pragma once

namespace dejavu::DEJAVU_ISA::page_bounds {

DEJAVU_OPERANDS(k, sequences, slots, bounds);
DEJAVU_PARAMS(page);

// By KV heads: rows of one page are taken in their order.
static int tasks(const Command& c, int threads) {
  return split(c.operand[k].dim[1], c.operand[k].size(), threads);
}

static void run(const Command& c, int task, float*) {
  const Operand& key = c.operand[k];
  const int64_t T = key.dim[0], G = key.dim[1], D = key.dim[2], P = c.operand[bounds].dim[2];
  const int64_t size = static_cast<int64_t>(c.param[page]);
  const Range heads = share(G, task, c.tasks);
  for (int64_t t = 0; t < T; t++) {
    const int64_t slot = c.operand[slots].i32()[t], text = c.operand[sequences].i32()[t];
    for (int64_t g = heads.begin; g < heads.end; g++) {
      const float* x = key.f32() + (t * G + g) * D;
      float* low = c.operand[bounds].f32() + ((text * G + g) * P + slot / size) * 2 * D;
      float* high = low + D;
      for (int64_t d = 0; d < D; d++) {
        const bool begins = slot % size == 0;
        low[d] = begins || x[d] < low[d] ? x[d] : low[d];
        high[d] = begins || x[d] > high[d] ? x[d] : high[d];
      }
    }
  }
}

static constexpr Kernel kernel{"pageBounds", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::page_bounds

namespace dejavu::DEJAVU_ISA::page_scores {

DEJAVU_OPERANDS(q, sequences, slots, bounds, scores);
DEJAVU_PARAMS(page);

static int tasks(const Command& c, int threads) {
  const Operand& from = c.operand[bounds];
  const int64_t units = c.operand[q].dim[0] * from.dim[1];
  return split(units, units * from.dim[2] * from.dim[3], threads);
}

// The most that a query gains from a key within the bounds.
static float gain(const float* query, const float* low, int64_t D) {
  V sums = zero();
  for (int64_t d = 0; d < D; d += W) {
    const bool whole = d + W <= D;
    const V x = whole ? load(query + d) : load(query + d, D - d);
    const V a = whole ? load(low + d) : load(low + d, D - d);
    const V b = whole ? load(low + D + d) : load(low + D + d, D - d);
    sums = add(sums, max(mul(x, a), mul(x, b)));
  }
  return sum(sums);
}

static void run(const Command& c, int task, float*) {
  const Operand& from = c.operand[bounds];
  const int64_t T = c.operand[q].dim[0], H = c.operand[q].dim[1], D = c.operand[q].dim[2];
  const int64_t G = from.dim[1], P = from.dim[2], group = H / G;
  const Range units = share(T * G, task, c.tasks);
  for (int64_t unit = units.begin; unit < units.end; unit++) {
    const int64_t t = unit / G, g = unit % G, text = c.operand[sequences].i32()[t];
    const int64_t seen = c.operand[slots].i32()[t] / static_cast<int64_t>(c.param[page]) + 1;
    const float* bound = from.f32() + (text * G + g) * P * 2 * D;
    const float* query = c.operand[q].f32() + (t * H + g * group) * D;
    float* out = c.operand[scores].f32() + unit * P;
    for (int64_t p = 0; p < seen; p++) {
      float most_gained = gain(query, bound + p * 2 * D, D);
      for (int64_t h = 1; h < group; h++) {
        const float gained = gain(query + h * D, bound + p * 2 * D, D);
        most_gained = gained > most_gained ? gained : most_gained;
      }
      out[p] = most_gained;
    }
  }
}

static constexpr Kernel kernel{"pageScores", operands, params, 0, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::page_scores

namespace dejavu::DEJAVU_ISA::choose_pages {

DEJAVU_OPERANDS(scores, slots, select, pages);
DEJAVU_PARAMS(page, sinks, recent, count, heads);

static size_t workspace(const Command& c) {
  return 2 * sizeof(float) * static_cast<size_t>(c.operand[scores].dim[2]);
}

// Whether a KV head of G serves a head that row t selects.
static bool serves(const Command& c, int64_t t, int64_t g, int64_t G) {
  const int64_t H = static_cast<int64_t>(c.param[heads]);
  const Chosen asked = chosen(c.operand[select], t, H);
  for (int64_t i = 0; i < asked.size(); i++)
    if (asked[i] * G / H == g) return true;
  return false;
}

// Pages of both windows rank above all others.
static void run(const Command& c, int, float* ranks) {
  const Operand& from = c.operand[scores];
  const int64_t T = from.dim[0], G = from.dim[1], P = from.dim[2];
  const auto number = [&](int i) { return static_cast<int64_t>(c.param[i]); };
  const int64_t size = number(page), first = number(sinks), latest = number(recent);
  for (int64_t unit = 0; unit < T * G; unit++) {
    const int64_t t = unit / G, slot = c.operand[slots].i32()[t];
    uint32_t* out = c.operand[pages].u32() + unit * (1 + P);
    const int64_t seen = serves(c, t, unit % G, G) ? slot / size + 1 : 0;
    const int64_t last = latest ? most(0, slot + 1 - latest) / size : seen;
    int64_t stay = 0;
    for (int64_t p = 0; p < seen; p++) {
      const bool stays = p * size < first || p >= last;
      ranks[p] = stays ? 3e38f : from.f32()[unit * P + p];
      stay += stays;
    }
    const int64_t wanted = most(number(count), stay);
    if (seen <= wanted) {
      for (int64_t p = 0; p < seen; p++) out[1 + p] = static_cast<uint32_t>(p);
      out[0] = static_cast<uint32_t>(seen);
    } else {
      out[0] = static_cast<uint32_t>(select_top::best(ranks, seen, wanted, out + 1, ranks + P));
    }
  }
}

static constexpr Kernel kernel{"choosePages", operands, params, 1u << select,
                               nullptr,       workspace, run};

}  // namespace dejavu::DEJAVU_ISA::choose_pages

namespace dejavu::DEJAVU_ISA::attend_pages {

DEJAVU_OPERANDS(q, keys, values, sequences, slots, pages, select, slopes, y);
DEJAVU_PARAMS(scale, window, page);

using attention::key_batch;

struct Sizes {
  int64_t T, H, D, G, S, P;
  int64_t group;  // heads that share a KV head

  explicit Sizes(const Command& c)
      : T(c.operand[q].dim[0]),
        H(c.operand[q].dim[1]),
        D(c.operand[q].dim[2]),
        G(c.operand[keys].dim[1]),
        S(c.operand[keys].dim[2]),
        P(c.operand[pages].dim[1] - 1),
        group(H / G) {}

  int64_t line() const { return round_up(S, 16) + 16; }
};

static int tasks(const Command& c, int threads) {
  const Sizes z(c);
  return split(z.T * z.G, 2 * z.T * z.H * z.S * z.D / 4, threads);
}

static size_t workspace(const Command& c) {
  const Sizes z(c);
  return sizeof(float) * static_cast<size_t>(z.group * (z.line() + 2 * z.D) + z.S);
}

// The heads of one KV head in one row, over a cache of type C.
template <class C>
struct Attend {
  const Command& c;
  const Sizes& z;
  int64_t t, g;
  float *weights, *query, *sums;
  int32_t* slot;  // those that are seen, ascending

  void run() const {
    int64_t head[64], heads = 0;
    const Chosen asked = chosen(c.operand[select], t, z.H);
    const int64_t first = (c.operand[sequences].i32()[t] * z.G + g) * z.S;
    for (int64_t i = 0; i < asked.size(); i++) {
      if (asked[i] / z.group != g) continue;
      head[heads++] = asked[i];
      if (heads == 64) attend(first, head, heads), heads = 0;
    }
    if (heads) attend(first, head, heads);
  }

  // Calls f(slot, count) for each run of slots of the chosen pages that the row sees.
  template <class F>
  void each_run(F f) const {
    const int64_t size = static_cast<int64_t>(c.param[page]), own = c.operand[slots].i32()[t];
    const int64_t far = static_cast<int64_t>(c.param[window]);
    const int64_t least_seen = far ? most(0, own + 1 - far) : 0;
    const uint32_t* list = c.operand[pages].u32() + (t * z.G + g) * (1 + z.P);
    for (uint32_t i = 1; i <= list[0]; i++) {
      const int64_t begin = most(list[i] * size, least_seen);
      const int64_t end = least((list[i] + 1) * size, own + 1);
      if (begin < end) f(begin, end - begin);
    }
  }

  void attend(int64_t first, const int64_t* head, int64_t heads) const {
    const int64_t bytes = row_bytes(C::type, z.D);
    const uint8_t* key = c.operand[keys].data + first * bytes;
    const uint8_t* value = c.operand[values].data + first * bytes;
    const size_t length = static_cast<size_t>(z.D) * sizeof(float);
    for (int64_t i = 0; i < heads; i++)
      memcpy(query + i * z.D, c.operand[q].f32() + (t * z.H + head[i]) * z.D, length);
    memset(sums, 0, static_cast<size_t>(heads) * length);

    int64_t n = 0;
    each_run([&](int64_t begin, int64_t count) {
      for (int64_t s = 0; s < count; s += key_batch) {
        const uint8_t* row[key_batch];
        const int64_t some = least(key_batch, count - s);
        for (int64_t i = 0; i < some; i++) {
          row[i] = key + (begin + s + i) * bytes;
          slot[n + i] = static_cast<int32_t>(begin + s + i);
        }
        for (int64_t i = 0; i < heads; i += dot_cols)
          products(row, some, i, least(dot_cols, heads - i), n);
        n += some;
      }
    });

    float total[64];
    const float by = static_cast<float>(c.param[scale]);
    const float* slope = c.operand[slopes].f32();
    for (int64_t i = 0; i < heads; i++) {
      float* w = weights + i * z.line();
      if (slope) attention::lean(w, n, by, slope[head[i]], slot);
      total[i] = attention::soften(w, n, slope ? 1 : by);
    }
    int64_t done = 0;
    each_run([&](int64_t begin, int64_t count) {
      const Right from = {value + begin * bytes, z.D, bytes, 0};
      outer<C>(heads, z.D, count, {weights + done, z.line(), 1}, from, sums, z.D, false);
      done += count;
    });
    for (int64_t i = 0; i < heads; i++) {
      float* out = c.operand[y].f32() + (t * z.H + head[i]) * z.D;
      for (int64_t d = 0; d < z.D; d++) out[d] = sums[i * z.D + d] / total[i];
    }
  }

  // Products of `count` keys with queries i … i+n-1, to their weights from `at` on.
  void products(const uint8_t* const* row, int64_t count, int64_t i, int64_t n, int64_t at) const {
    const float* from = query + i * z.D;
    float* to = weights + i * z.line() + at;
    if (z.D == 64)
      dots<C, 64>(row, nullptr, count, from, z.D, n, z.D, to, z.line());
    else if (z.D == 128)
      dots<C, 128>(row, nullptr, count, from, z.D, n, z.D, to, z.line());
    else
      dots<C>(row, nullptr, count, from, z.D, n, z.D, to, z.line());
  }
};

static void run(const Command& c, int task, float* at) {
  const Sizes z(c);
  const Range units = share(z.T * z.G, task, c.tasks);
  float* query = at + z.group * z.line();
  float* sums = query + z.group * z.D;
  int32_t* slot = reinterpret_cast<int32_t*>(sums + z.group * z.D);
  for (int64_t unit = units.begin; unit < units.end; unit++)
    attention::with_cache(c.operand[keys].type, [&](auto type) {
      Attend<decltype(type)>{c, z, unit / z.G, unit % z.G, at, query, sums, slot}.run();
    });
}

static constexpr Kernel kernel{"attendPages", operands, params, 1u << select | 1u << slopes,
                               tasks,         workspace, run};

}  // namespace dejavu::DEJAVU_ISA::attend_pages
