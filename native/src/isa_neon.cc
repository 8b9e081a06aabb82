#define DEJAVU_ISA neon
#include "simd_neon.h"
//
#include "kernels/table.h"
