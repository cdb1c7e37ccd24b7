/* Which kernel levels run here: cpu/levels.h. Asked of the CPU at each call, so that there is no
 * state to initialise. CPUID leaves a virtual machine, which takes microseconds: ask when something
 * is opened, not where work is done. */
#include "cpu/levels.h"
#include "cpu/search/scan.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

const char *ms_cpu_isa_name(int isa) { return msim_isa_name(isa); }

/* __builtin_cpu_supports also asks whether the operating system saves the wide registers. */
static int cpu_has(int isa) {
    if (isa == MSIM_ISA_REF) return 1;
#if defined(__x86_64__)
    unsigned a, b, c, d;
    __builtin_cpu_init();
    if (isa == MSIM_ISA_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    if (isa == MSIM_ISA_AVX512)
        return cpu_has(MSIM_ISA_AVX2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    if (isa == MSIM_ISA_AVX512BF16) /* CPUID leaf 7, subleaf 1, EAX bit 5 */
        return cpu_has(MSIM_ISA_AVX512) && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5);
#endif
    return 0;
}

/* What this build holds, whether or not the CPU can run it. */
static const ms_cpu_kernels *compiled(int isa) {
    switch (isa) {
    case MSIM_ISA_REF: return &ms_kernels_ref;
#if defined(__x86_64__)
    case MSIM_ISA_AVX2: return &ms_kernels_avx2;
    case MSIM_ISA_AVX512: return &ms_kernels_avx512;
    case MSIM_ISA_AVX512BF16: return &ms_kernels_avx512bf16;
#endif
    default: return NULL;
    }
}

const ms_cpu_kernels *ms_cpu_kernels_get(int isa) { return cpu_has(isa) ? compiled(isa) : NULL; }

const ms_scan_kernels *ms_scan_kernels_get(int isa) {
    if (!ms_cpu_kernels_get(isa)) return NULL;
    switch (isa) {
#if defined(__x86_64__)
    case MSIM_ISA_AVX2: return &ms_scan_avx2;
    case MSIM_ISA_AVX512:
    case MSIM_ISA_AVX512BF16: return &ms_scan_avx512;
#endif
    default: return &ms_scan_ref;
    }
}

int ms_cpu_isa_best(void) {
    for (int isa = MSIM_ISA_AVX512BF16; isa > MSIM_ISA_REF; isa--)
        if (ms_cpu_kernels_get(isa)) return isa;
    return MSIM_ISA_REF;
}

int ms_cpu_isa_choose(int requested, int *out, msim_error *err) {
    const char *best = ms_cpu_isa_name(ms_cpu_isa_best());
    if (requested < MSIM_ISA_AUTO || !ms_cpu_isa_name(requested))
        return ms_fail(err, MSIM_E_ARG,
                       "isa: expected auto, ref, avx2, avx512 or avx512bf16, got %d", requested);
    if (requested == MSIM_ISA_AUTO) requested = ms_cpu_isa_best();
    const char *name = ms_cpu_isa_name(requested);
    if (!compiled(requested))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "isa: expected a level that this build has (best here: %s), got %s", best,
                       name);
    if (!cpu_has(requested))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "isa: expected a level that this CPU has (best here: %s), got %s", best,
                       name);
    *out = requested;
    return MSIM_OK;
}
