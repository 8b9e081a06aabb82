// attention: the slots that a query sees, and the queries that are worked on together.
#pragma once

#include "sizes.h"

namespace dejavu::DEJAVU_ISA::attention {

// Slots that a row sees: some of those before the ring, then those of some positions.
struct View {
  Range sinks, rest;
  int64_t shift;  // a position's place, where there are no places, is less by this

  View() = default;
  View(const Command& c, const Sizes& z, int64_t slot, const int32_t* place) {
    const int64_t begin = z.recent ? most(z.sinks, slot + 1 - z.recent) : 0;
    sinks = {0, least(z.sinks, slot + 1)};
    rest = {begin, most(begin, slot + 1)};
    shift = begin - sinks.end;
    const int64_t last = static_cast<int64_t>(c.param[window]);
    if (last && place) {
      while (place[slot] - place[rest.begin] >= last) rest.begin++;
    } else if (last) {
      const int64_t excess = most(0, size() - last);
      sinks.begin = least(excess, sinks.end);
      rest.begin += excess - sinks.begin;
    }
  }
  int64_t size() const { return sinks.end - sinks.begin + rest.end - rest.begin; }
};

struct Query {
  int64_t row, head;
  View view;
};

// Queries of one text and one KV head.
struct Block {
  int64_t text, kv_head;
  Range rest;  // positions that any of them sees
  int64_t count = 0;
  Query query[most_queries];

  Range any(int64_t from, int64_t n) const {
    Range found = query[from].view.rest;
    for (int64_t i = from + 1; i < from + n; i++) {
      const Range& r = query[i].view.rest;
      found = {least(found.begin, r.begin), most(found.end, r.end)};
    }
    return found;
  }
  // Those of `within` that all see.
  Range all(int64_t from, int64_t n, Range within) const {
    for (int64_t i = from; i < from + n; i++) {
      const Range& r = query[i].view.rest;
      within = {most(within.begin, r.begin), least(within.end, r.end)};
    }
    return within;
  }
};

}  // namespace dejavu::DEJAVU_ISA::attention
