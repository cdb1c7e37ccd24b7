/* Loops that run at the limit of one instruction: one file for each instruction set, in a folder of
 * its architecture, compiled with its own flags, with one exported table. Called only where the CPU
 * has the instructions (tools/bench/limits.c).
 *
 * Accumulators are separate variables, and an empty asm holds each in a register at every step:
 * neither can the compiler drop the chain, nor spill it (an array that it kept in memory would read
 * several times too low). There are more of them than latency times throughput on any CPU of the
 * family: 12 of 16 registers, 24 of 32. */
#ifndef MS_TOOLS_BENCH_LIMITS_H
#define MS_TOOLS_BENCH_LIMITS_H
#include <stddef.h>

typedef struct {
    double per_step;           /* operations of one step; a multiply-add is 2 */
    void (*run)(size_t steps); /* NULL: not in this table */
} ms_limits_loop;

typedef struct {
    ms_limits_loop dot;                             /* the set's widest multiply-add */
    void (*read)(const void *from, size_t n_bytes); /* every byte once, in several streams; NULL:
                                                     * not in this table. n_bytes: a multiple of
                                                     * 4096 */
} ms_limits_table;

/* Weak: NULL in a build for another architecture, which leaves their files out. */
extern const ms_limits_table ms_limits_avx2 __attribute__((weak)),
    ms_limits_avx512 __attribute__((weak)), ms_limits_avx512bf16 __attribute__((weak)),
    ms_limits_avx512vnni __attribute__((weak)), ms_limits_amxbf16 __attribute__((weak));

#define MS_LIMITS_12(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define MS_LIMITS_24(F) \
    MS_LIMITS_12(F) F(12) F(13) F(14) F(15) F(16) F(17) F(18) F(19) F(20) F(21) F(22) F(23)

enum { MS_LIMITS_STREAMS = 4, MS_LIMITS_AHEAD = 2048 }; /* bytes that prefetching runs ahead */

#endif
