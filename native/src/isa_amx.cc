#define DEJAVU_ISA amx
#include "simd_amx.h"
//
#include "kernels/table.h"
