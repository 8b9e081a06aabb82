// Every kernel, compiled for the instruction set whose SIMD layer was included before: DEJAVU_ISA.
//
// Nothing of the C++ library is used here: its inline functions, compiled with this translation
// unit's flags, could be the ones the linker keeps for all.
#include <math.h>
#include <string.h>

#include "../tensor.h"
#include "split.h"
//
#include "activation.h"
#include "decode.h"
//
#include "dot.h"
#include "dot_codes.h"
#include "short_rows.h"
#include "quad_rows.h"
#include "outer.h"
#include "tiles.h"
#include "code_tiles.h"
//
#include "encode.h"
#include "rotary.h"
//
#include "attention.h"
#include "store.h"
#include "elementwise.h"
#include "code_sums.h"
#include "linear.h"
#include "linear_transposed.h"
#include "norm.h"
#include "divergence.h"
#include "backlog.h"
#include "select.h"
#include "pages.h"
#include "evict.h"
#include "training.h"
#include "union.h"

namespace dejavu::DEJAVU_ISA {

static constexpr Kernel kernels[] = {
    activated::kernel,
    adam::kernel,
    attend_pages::kernel,
    attention::kernel,
    backlog::kernel,
    bce_gradient::kernel,
    blank::kernel,
    cache_store::kernel,
    choose_pages::kernel,
    clamp::kernel,
    cross_entropy::kernel,
    divergence::kernel,
    embed::kernel,
    encode::kernel,
    enter::kernel,
    evict::kernel,
    keep_input::kernel,
    linear::kernel,
    linear_missing::kernel,
    linear_transposed::kernel,
    magnitude::kernel,
    multiply::kernel,
    noise::kernel,
    norm::kernel,
    observe::kernel,
    page_bounds::kernel,
    page_scores::kernel,
    pool::kernel,
    recent::kernel,
    relu_gradient::kernel,
    rotary::kernel,
    rotary_angles::kernel,
    row_sums::kernel,
    select_above::kernel,
    select_top::kernel,
    store_missing::kernel,
    sum_of_two::kernel,
    tally::kernel,
    union_of::kernel,
    weight_gradient::kernel,
};

static constexpr bool commands_have_room() {
  for (const Kernel& kernel : kernels)
    if (kernel.operands.count > max_operands || kernel.params.count > max_params) return false;
  return true;
}
static_assert(commands_have_room(), "max_operands or max_params of tensor.h is too small");

#define DEJAVU_NAME(x) DEJAVU_TEXT(x)

extern const KernelTable table;
const KernelTable table{DEJAVU_NAME(DEJAVU_ISA), fast_f16, activations, kernels,
                        static_cast<int>(sizeof kernels / sizeof kernels[0])};

}  // namespace dejavu::DEJAVU_ISA
