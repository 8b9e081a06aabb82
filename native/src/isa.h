// Instruction sets: each compiles the same kernels in its own translation unit, with its own flags.
#pragma once

#include <vector>

#include "tensor.h"

namespace dejavu {

// Tables this processor can run, best first.
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
