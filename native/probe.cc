// Prints the instruction sets that kernels can be compiled for and this processor runs, best first. What
// scripts/install.mjs asks is so what the addon asks when it opens.
#include <stdio.h>

#include "src/isa.cc"

int main() {
  for (const char* isa : dejavu::isas_of_processor()) puts(isa);
}
