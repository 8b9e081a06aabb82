#define DEJAVU_ISA avx512
#include "simd_avx512.h"
//
#include "kernels/table.h"
