// Instruction sets: each compiles the same kernels in its own translation unit, with its own flags.
#pragma once

#include <vector>

#include "tensor.h"

namespace dejavu {

// Instruction sets that there is a SIMD layer for and this processor runs, best first.
std::vector<const char*> isas_of_processor();
// Those of them that kernels were compiled for.
std::vector<const KernelTable*> available_isas();

namespace amx {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace neon {
extern const KernelTable table;
}
namespace scalar {
extern const KernelTable table;
}

}  // namespace dejavu
