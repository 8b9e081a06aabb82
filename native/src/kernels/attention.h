// attention: over a cache of keys and values [B, G, S, D] in f32, f16 or int8.
//
// A row's bits are those of its own weights in one line, slot after slot in the order of their places: not
// of the rows and heads that share the reading, nor of where a ring begins.
#pragma once

#include "attention/attend.h"

namespace dejavu::DEJAVU_ISA::attention {

static int tasks(const Command& c, int threads) {
  if (threads == 1) return 1;
  const Sizes z(c);
  const int64_t units = most(1, z.blocks(c) * z.G);
  return static_cast<int>(units * least(z.group, (threads + units - 1) / units));
}

static size_t workspace(const Command& c) {
  return sizeof(float) * static_cast<size_t>(Room::size(Sizes(c)));
}

// Computes `heads`, of one KV head, in `rows`, of one text: gathers queries to blocks, and attends a block when
// it is full or the next query cannot share it. Slots receive weights of rows from `counted` on.
static void attend(const Command& c, const Sizes& z, int64_t kv_head, Range heads, Range rows,
                   int64_t counted, float* workspace) {
  const int64_t text = c.operand[sequences].i32()[rows.begin];
  const int32_t* place = c.operand[places].data
                             ? c.operand[places].i32() + (text * z.G + kv_head) * z.S
                             : nullptr;
  Block block;
  block.text = text;
  block.kv_head = kv_head;
  const auto flush = [&] {
    if (!block.count) return;
    with_cache(c.operand[keys].type, [&](auto type) {
      Attend<decltype(type)>{c, z, block, Room(z, workspace)}.run(counted);
    });
    block.count = 0;
  };
  for (int64_t t = rows.begin; t < rows.end; t++) {
    const View view(c, z, c.operand[slots].i32()[t], place);
    const Chosen chosen_heads = chosen(c.operand[select], t, z.H);
    for (int64_t i = 0; i < chosen_heads.size(); i++) {
      const int64_t head = chosen_heads[i];
      if (head < heads.begin || head >= heads.end) continue;
      Range rest = view.rest;
      if (block.count) {
        rest = {least(block.rest.begin, rest.begin), most(block.rest.end, rest.end)};
        // Places of keys in a ring are others for each row.
        const bool apart = z.recent && c.operand[angles].data && block.query[0].row != t;
        if (apart || block.count == most_queries || rest.end - rest.begin > z.S - z.sinks) {
          flush();
          rest = view.rest;
        }
      }
      block.rest = rest;
      block.query[block.count++] = {t, head, view};
    }
  }
  flush();
}

// Number `unit` of all: a block of rows and one of `parts` shares of a KV head's heads. First zeroes what its
// heads' slots received.
static void run_unit(const Command& c, const Sizes& z, int64_t unit, int64_t parts,
                     float* workspace) {
  const int64_t blocks = z.blocks(c), kv_head = unit / parts / blocks, part = unit % parts;
  const int64_t block = unit / parts % blocks, first = kv_head * z.group;
  const Range heads = {first + z.group * part / parts, first + z.group * (part + 1) / parts};
  const Range rows = blocks == 1 ? Range{0, z.T}
                                 : Range{block * z.rows, least((block + 1) * z.rows, z.T)};
  const int32_t* text = c.operand[sequences].i32();
  const int64_t counted = static_cast<int64_t>(c.param[latest]);
  for (int64_t t = rows.begin, end; t < rows.end; t = end) {
    for (end = t + 1; end < rows.end && text[end] == text[t];) end++;
    if (c.operand[received].data) {
      const size_t used = static_cast<size_t>(c.operand[slots].i32()[end - 1] + 1);
      for (int64_t h = heads.begin; h < heads.end; h++)
        memset(c.operand[received].f32() + (text[t] * z.H + h) * z.S, 0, used * sizeof(float));
    }
    attend(c, z, kv_head, heads, {t, end}, counted ? most(t, end - counted) : t, workspace);
  }
}

static void run(const Command& c, int task, float* workspace) {
  const Sizes z(c);
  const int64_t units = most(1, z.blocks(c) * z.G);
  if (c.tasks > 1) return run_unit(c, z, task, c.tasks / units, workspace);
  for (int64_t unit = 0; unit < units; unit++) run_unit(c, z, unit, 1, workspace);
}

// Keys, then values, of the task's KV head: of a single row, where each byte is read once.
static Span reads(const Command& c, int task, int64_t piece) {
  const Sizes z(c);
  if (z.T > 1 || piece > 1) return {};
  const int64_t kv_head = c.tasks > 1 ? task / (c.tasks / z.G) : 0;
  const Chosen heads = chosen(c.operand[select], 0, z.H);
  bool any = false;
  for (int64_t i = 0; i < heads.size(); i++) any = any || heads[i] / z.group == kv_head;
  if (!any) return {};
  const Operand& from = c.operand[piece ? values : keys];
  const int64_t used = least(c.operand[slots].i32()[0] + 1, z.S), bytes = row_bytes(from.type, z.D);
  const int64_t text = c.operand[sequences].i32()[0];
  return {from.data + (text * z.G + kv_head) * z.S * bytes, used * bytes};
}

static constexpr Kernel kernel{"attention",
                               operands,
                               params,
                               1u << select | 1u << slopes | 1u << places | 1u << angles |
                                   1u << sink_q | 1u << received,
                               tasks,
                               workspace,
                               run,
                               nullptr,
                               reads};

}  // namespace dejavu::DEJAVU_ISA::attention
