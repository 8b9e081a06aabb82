#include "simd_avx512.h"

#define DEJAVU_ISA avx512
#include "kernels/table.h"
