// enter, observe, evict: what is known of the tokens in each slot, and which of them go.
#pragma once

namespace dejavu::DEJAVU_ISA::eviction {

// Calls f(text, first, end, used) for rows first … end-1 of one text, `used` of whose slots hold a token.
template <class F>
static inline void each_text(const Operand& sequences, const Operand& slots, F f) {
  const int64_t T = sequences.dim[0];
  const int32_t* text = sequences.i32();
  for (int64_t first = 0, end; first < T; first = end) {
    for (end = first + 1; end < T && text[end] == text[first];) end++;
    f(static_cast<int64_t>(text[first]), first, end, int64_t{slots.i32()[end - 1]} + 1);
  }
}

}  // namespace dejavu::DEJAVU_ISA::eviction

namespace dejavu::DEJAVU_ISA::enter {

DEJAVU_OPERANDS(sequences, slots, at, given, positions, ranks, scores, looks, chances);

static void run(const Command& c, int, float*) {
  const int64_t T = c.operand[at].dim[0], G = c.operand[scores].dim[1], S = c.operand[scores].dim[2];
  for (int64_t t = 0; t < T; t++)
    for (int64_t g = 0; g < G; g++) {
      const int32_t slot = c.operand[slots].i32()[t];
      const int64_t i = (c.operand[sequences].i32()[t] * G + g) * S + slot;
      c.operand[positions].i32()[i] = c.operand[at].i32()[t];
      if (c.operand[ranks].data) c.operand[ranks].i32()[i] = slot;
      const bool scored = c.operand[given].data != nullptr;
      c.operand[scores].f32()[i] = scored ? c.operand[given].f32()[t * G + g] : 0;
      c.operand[looks].i32()[i] = c.operand[chances].i32()[i] = scored ? 1 : 0;
    }
}

static constexpr Kernel kernel{"enter", operands, {}, 1u << given | 1u << ranks, nullptr, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::enter

namespace dejavu::DEJAVU_ISA::observe {

DEJAVU_OPERANDS(received, sequences, slots, select, scores, looks, chances);
DEJAVU_PARAMS(latest, layer, fresh);

static int tasks(const Command& c, int threads) {
  const Operand& from = c.operand[received];
  const int64_t heads = c.param[layer] != 0 ? c.operand[scores].dim[1] : 1;
  return split(c.operand[scores].dim[1], from.dim[1] * from.dim[2] * heads, threads);
}

// Slots begin … end-1 of a KV head, at which heads looked `did` times of `could`.
static void add_up(const Command& c, int64_t text, int64_t g, Range heads, int64_t begin, int64_t end,
                   int32_t did, int32_t could) {
  const int64_t H = c.operand[received].dim[1], S = c.operand[received].dim[2];
  const int64_t row = (text * c.operand[scores].dim[1] + g) * S;
  const float* from = c.operand[received].f32() + text * H * S;
  float* score = c.operand[scores].f32() + row;
  int32_t* look = c.operand[looks].i32() + row;
  int32_t* chance = c.operand[chances].i32() + row;
  const bool anew = c.param[fresh] != 0 && did > 0;
  for (int64_t s = begin; s < end; s += W) {
    const int64_t n = least(W, end - s);
    V sum = load(from + heads.begin * S + s, n);
    for (int64_t h = heads.begin + 1; h < heads.end; h++)
      sum = dejavu::DEJAVU_ISA::add(sum, load(from + h * S + s, n));
    if (!anew) sum = dejavu::DEJAVU_ISA::add(load(score + s, n), sum);
    store(score + s, sum, n);
  }
  for (int64_t s = begin; s < end; s++) {
    look[s] = anew ? did : look[s] + did;
    chance[s] = anew ? could : chance[s] + could;
  }
}

static void run(const Command& c, int task, float*) {
  const int64_t H = c.operand[received].dim[1], G = c.operand[scores].dim[1];
  const int64_t counted = static_cast<int64_t>(c.param[latest]);
  const int32_t* slot = c.operand[slots].i32();
  const Range mine = share(G, task, c.tasks);
  for (int64_t g = mine.begin; g < mine.end; g++) {
    const bool all = c.param[layer] != 0;
    const Range heads = {all ? 0 : g * H / G, all ? H : (g + 1) * H / G};
    eviction::each_text(
        c.operand[sequences], c.operand[slots],
        [&](int64_t text, int64_t first, int64_t end, int64_t) {
          if (counted) first = most(first, end - counted);
          // The last slot is seen by the last row alone, those before by ever more.
          int32_t did = 0, could = 0;
          for (int64_t row = end - 1; row >= first; row--) {
            const Chosen chosen_heads = chosen(c.operand[select], row, H);
            for (int64_t i = 0; i < chosen_heads.size(); i++)
              did += chosen_heads[i] >= heads.begin && chosen_heads[i] < heads.end;
            could += static_cast<int32_t>(heads.end - heads.begin);
            add_up(c, text, g, heads, row > first ? slot[row - 1] + 1 : 0, slot[row] + 1, did, could);
          }
        });
  }
}

static constexpr Kernel kernel{"observe", operands, params, 1u << select, tasks, nullptr, run};

}  // namespace dejavu::DEJAVU_ISA::observe

namespace dejavu::DEJAVU_ISA::evict {

DEJAVU_OPERANDS(sequences, slots, keys, values, positions, ranks, scores, looks, chances);
DEJAVU_PARAMS(sinks, recent, budget, slack, pool, forget);

// Candidates in order: by worth, then by position. Slots that stay come last.
using Order = uint64_t;
constexpr Order stays = ~Order{0};

// Orders as the float does; zeros of both signs are equal.
static uint32_t ascending(float x) {
  uint32_t bits;
  x += 0.0f;
  memcpy(&bits, &x, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static int tasks(const Command& c, int threads) {
  return threads == 1 ? 1 : static_cast<int>(c.operand[scores].dim[1]);
}

static size_t workspace(const Command& c) {
  return 2 * sizeof(Order) * static_cast<size_t>(c.operand[scores].dim[2]);
}

// The k-th smallest, k ≥ 1, found digit by digit.
static Order kth(const Order* order, int64_t n, int64_t k) {
  Order found = 0, known = 0;
  if (k == 1) {
    found = stays;
    for (int64_t i = 0; i < n; i++) found = order[i] < found ? order[i] : found;
    return found;
  }
  constexpr int width = 8;
  for (int shift = 64 - width; shift >= 0; shift -= width) {
    uint32_t counts[1 << width] = {};
    for (int64_t i = 0; i < n; i++)
      if ((order[i] & known) == found) counts[order[i] >> shift & 255]++;
    Order digit = 0;
    for (; counts[digit] < k; digit++) k -= counts[digit];
    found |= digit << shift;
    known |= Order{255} << shift;
  }
  return found;
}

// Sorts numbers by their high halves, none of which is negative as an i32; `room`: as many again.
static void sort(Order* numbers, int64_t n, Order* room) {
  bool sorted = true;
  for (int64_t i = 1; i < n; i++) sorted = sorted && numbers[i - 1] <= numbers[i];
  if (sorted) return;
  for (int shift = 32; shift < 64; shift += 8) {
    uint32_t start[257] = {};
    for (int64_t i = 0; i < n; i++) start[(numbers[i] >> shift & 255) + 1]++;
    for (int i = 0; i < 256; i++) start[i + 1] += start[i];
    for (int64_t i = 0; i < n; i++) room[start[numbers[i] >> shift & 255]++] = numbers[i];
    memcpy(numbers, room, static_cast<size_t>(n) * sizeof(Order));
  }
}

// One KV head's slots of one text.
struct Head {
  const Command& c;
  int64_t first;  // its first slot, of all there are
  int64_t used;
  Order *order, *room;
  int64_t kept = static_cast<int64_t>(c.param[budget]);
  int32_t* position = c.operand[positions].i32() + first;
  int32_t* rank = c.operand[ranks].data ? c.operand[ranks].i32() + first : nullptr;
  float* score = c.operand[scores].f32() + first;
  int32_t* look = c.operand[looks].i32() + first;
  int32_t* chance = c.operand[chances].i32() + first;

  // A score as it would be had no head been skipped.
  static float worth(float score, int32_t look, int32_t chance) {
    const double by = static_cast<double>(chance) / (look ? look : 1);
    return look ? score * static_cast<float>(by) : __builtin_inff();
  }
  static Order place(int32_t position, float worth) {
    return Order{ascending(worth)} << 32 | static_cast<uint32_t>(position);
  }

  // By worth, those of positions begin … end-1.
  void rank_each(int32_t begin, int32_t end) const {
    Order* __restrict to = order;
    const int32_t *at = position, *looked = look, *could = chance;
    const float* received = score;
    for (int64_t s = 0; s < used; s++) {
      const Order found = place(at[s], worth(received[s], looked[s], could[s]));
      const bool may_go = at[s] >= begin && at[s] < end;
      to[s] = may_go ? found : stays;
    }
  }

  // By the mean worth of neighbours in the text.
  void rank_pools(int32_t begin, int32_t end, int64_t pool) const {
    int64_t n = 0;
    for (int64_t s = 0; s < used; s++)
      if (position[s] >= begin && position[s] < end)
        room[n++] = Order{static_cast<uint32_t>(position[s])} << 32 | static_cast<uint32_t>(s);
    sort(room, n, order);
    for (int64_t s = 0; s < used; s++) order[s] = stays;
    const int64_t half = pool / 2;
    for (int64_t i = 0; i < n; i++) {
      float sum = 0;
      for (int64_t j = most(0, i - half); j <= i + half && j < n; j++) {
        const int64_t s = static_cast<int64_t>(room[j] & 0xffffffff);
        sum += worth(score[s], look[s], chance[s]);
      }
      const int64_t s = static_cast<int64_t>(room[i] & 0xffffffff);
      order[s] = place(position[s], sum / static_cast<float>(pool));
    }
  }

  void move(int64_t from, int64_t to) const {
    const int64_t bytes = row_bytes(c.operand[keys].type, c.operand[keys].dim[3]);
    uint8_t* key = c.operand[keys].data + first * bytes;
    uint8_t* value = c.operand[values].data + first * bytes;
    memcpy(key + to * bytes, key + from * bytes, static_cast<size_t>(bytes));
    memcpy(value + to * bytes, value + from * bytes, static_cast<size_t>(bytes));
    position[to] = position[from];
    if (rank) rank[to] = rank[from];
    score[to] = score[from];
    look[to] = look[from];
    chance[to] = chance[from];
  }

  // Ranks of what stays: those that go before no longer count.
  void close_ranks(Order last) const {
    if (used - kept == 1) {
      int32_t gone = 0;
      for (int64_t s = 0; s < used; s++) gone = order[s] == last ? rank[s] : gone;
      for (int64_t s = 0; s < used; s++) rank[s] -= rank[s] > gone;
      return;
    }
    int32_t* below = reinterpret_cast<int32_t*>(room);
    memset(below, 0, static_cast<size_t>(used) * sizeof(int32_t));
    for (int64_t s = 0; s < used; s++) below[rank[s]] = order[s] <= last;
    for (int64_t r = 1; r < used; r++) below[r] += below[r - 1];
    for (int64_t s = 0; s < used; s++)
      if (order[s] > last) rank[s] -= below[rank[s]];
  }

  void run() const {
    int32_t newest = 0;
    for (int64_t s = 0; s < used; s++) newest = position[s] > newest ? position[s] : newest;
    const int32_t begin = static_cast<int32_t>(c.param[sinks]);
    const int32_t end = newest + 1 - static_cast<int32_t>(c.param[recent]);
    const int64_t pooled = static_cast<int64_t>(c.param[pool]);
    if (pooled > 1)
      rank_pools(begin, end, pooled);
    else
      rank_each(begin, end);
    const Order last = kth(order, used, used - kept);
    if (rank) close_ranks(last);
    int64_t hole = 0;
    for (int64_t s = kept; s < used; s++) {
      if (order[s] <= last) continue;
      while (order[hole] > last) hole++;
      move(s, hole++);
    }
    if (c.param[forget] == 0) return;
    const size_t bytes = static_cast<size_t>(kept) * sizeof(float);
    memset(score, 0, bytes);
    memset(look, 0, bytes);
    memset(chance, 0, bytes);
  }
};

static void run(const Command& c, int task, float* workspace) {
  const int64_t G = c.operand[scores].dim[1], S = c.operand[scores].dim[2];
  const double most_kept = c.param[budget] + c.param[slack];
  Order* order = reinterpret_cast<Order*>(workspace);
  const int64_t begin = c.tasks == 1 ? 0 : task, end = c.tasks == 1 ? G : task + 1;
  eviction::each_text(c.operand[sequences], c.operand[slots],
                      [&](int64_t text, int64_t, int64_t, int64_t used) {
                        if (static_cast<double>(used) <= most_kept) return;
                        for (int64_t g = begin; g < end; g++)
                          Head{c, (text * G + g) * S, used, order, order + S}.run();
                      });
}

static constexpr Kernel kernel{"evict", operands, params, 1u << ranks, tasks, workspace, run};

}  // namespace dejavu::DEJAVU_ISA::evict
