/* Permission to use tiles: cpu/tiles.h. */
#define _GNU_SOURCE
#include "cpu/tiles.h"
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* asm/prctl.h of Linux 5.16 has the first; its numbers are fixed. */
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
/* CPUID leaf 7, EDX; bits of XCR0 (Intel SDM volume 1, section 13.1). */
enum { CPU_TILES = 1 << 24, OS_SAVES_TILES = 3 << 17 };

static int cpu_has_tiles(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & CPU_TILES);
}

/* Whether the system saves their configuration and their data. */
static int os_saves_tiles(void) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & OS_SAVES_TILES) == OS_SAVES_TILES;
}

int ms_tiles_state(void) {
    if (!cpu_has_tiles()) return MS_TILES_NONE;
    if (!os_saves_tiles()) return MS_TILES_REFUSED;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 ? MS_TILES_GRANTED
                                                                       : MS_TILES_REFUSED;
}
#else
int ms_tiles_state(void) { return MS_TILES_NONE; }
#endif
