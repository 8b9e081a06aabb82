#include "simd_avx2.h"

#define DEJAVU_ISA avx2
#include "kernels/table.h"
