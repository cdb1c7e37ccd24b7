/* Kernel levels of the CPU: detection, and the table of kernels that each level exports. A level holds only static
 * functions and one exported table; its file is compiled with its own flags. docs/MODEL.md defines what is computed. */
#ifndef MS_CPU_ISA_H
#define MS_CPU_ISA_H
#include "core/rows.h"
#include "core/status.h"

/* The best msim_isa that this CPU (and its operating system's saved state) and this build have. */
int ms_cpu_isa_best(void);
/* *out = the level to run for a request (msim_isa); refused when this CPU or build lacks it, naming both. */
int ms_cpu_isa_choose(int requested, int *out, msim_error *err);

#endif
