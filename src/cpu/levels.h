/* The kernel levels of the CPU. cpu/levels.c holds them in one table, a row for each level: name,
 * architecture, what the CPU must have, kernels. A new level is a row there, its files in
 * cpu/kernels/ARCH/ and a line of flags in the Makefile.
 *
 * A kernel file is compiled with its level's flags, holds static functions, and exports one table
 * that has the file's name: kernels/x86/scan_int8_avx2.c exports ms_scan_int8_avx2. */
#ifndef MS_CPU_LEVELS_H
#define MS_CPU_LEVELS_H
#include "cpu/encoder/int8.h"
#include "cpu/encoder/kernels.h"
#include "cpu/search/codes.h"
#include "cpu/search/scan.h"
#include "search/join/kernels.h"
#include "whiten/kernels.h"

/* "auto", "ref", "avx2", ... of every level that a build may have; NULL for an unknown value. */
const char *ms_cpu_isa_name(int isa);
/* The levels that this build holds, from the reference to the fastest: the index-th, -1 past the
 * last. */
int ms_cpu_isa_list(int index);
/* What the CPU must have for a level at a precision: words of /proc/cpuinfo separated by spaces,
 * none for the reference. NULL: this build lacks the level, or the level the precision. */
const char *ms_cpu_isa_needs(int isa, int precision);
/* Whether this build and this CPU (and its operating system's saved state) have it. */
int ms_cpu_isa_is_available(int isa, int precision);
/* The fastest level that this build and this CPU have. */
int ms_cpu_isa_best(void);
/* *out = the level to run for a request (msim_isa); refused when this CPU or build lacks it, naming
 * both. */
int ms_cpu_isa_choose(int requested, int *out, msim_error *err);

/* The kernels of a level; NULL: this build or this CPU lacks it. */
const ms_cpu_kernels *ms_cpu_kernels_get(int isa);
const ms_scan_kernels *ms_scan_kernels_get(int isa);
const ms_codes_kernels *ms_codes_kernels_get(int isa, int is_int8); /* is_int8: else bf16 */
const ms_whiten_kernels *ms_cpu_whiten_kernels(int isa);
const ms_join_kernels *ms_cpu_join_kernels(int isa);
const ms_int8_kernels *ms_int8_kernels_get(int isa); /* NULL also: the CPU lacks what int8 needs */

#endif
