#include "simd_neon.h"

#define DEJAVU_ISA neon
#include "kernels/table.h"
