#define DEJAVU_ISA scalar
#include "simd_scalar.h"
//
#include "kernels/table.h"
