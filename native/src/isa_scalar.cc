#include "simd_scalar.h"

#define DEJAVU_ISA scalar
#include "kernels/table.h"
