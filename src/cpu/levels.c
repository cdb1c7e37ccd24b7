/* The table of kernel levels: cpu/levels.h. Each call asks the CPU, so there is no state to
 * initialise. CPUID leaves a virtual machine, which takes microseconds. So ask when something is
 * opened, not where work is done. */
#include "cpu/levels.h"
#include "cpu/tiles.h"
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- The table ------------------------------------------------------------------------------- */

/* Scans of int8 codes and products of int8, which ask for more than the rest of a level. */
typedef struct {
    const char *needs; /* NULL: no such set */
    const ms_codes_kernels *scan_int8;
    const ms_int8_kernels *int8; /* NULL: the precision is refused */
} integer_kernels;

/* Kernels of a join, which ask for still other things. */
typedef struct {
    const char *needs; /* NULL: no such set */
    const ms_join_kernels *join;
} join_kernels;

enum { N_INTEGERS = 2, N_JOINS = 3 };

typedef struct {
    int isa; /* msim_isa */
    const char *name;
    const char *arch;              /* "any", or whose kernels these are */
    const char *needs;             /* words of has_feature, separated by spaces */
    const ms_cpu_kernels *encoder; /* NULL, as the others: not in this build */
    const ms_scan_kernels *scan_f32;
    const ms_codes_kernels *scan_bf16;
    const ms_whiten_kernels *whiten;
    integer_kernels integers[N_INTEGERS]; /* the first that the CPU has */
    join_kernels joins[N_JOINS];          /* likewise */
} level;

/* What kernel files export by the name of a level, each type in a file of its own. */
#define TABLES(level)                                                         \
    extern const ms_cpu_kernels ms_encoder_##level;                           \
    extern const ms_scan_kernels ms_scan_f32_##level;                         \
    extern const ms_codes_kernels ms_scan_bf16_##level, ms_scan_int8_##level; \
    extern const ms_int8_kernels ms_int8_##level;                             \
    extern const ms_whiten_kernels ms_whiten_##level;                         \
    extern const ms_join_kernels ms_join_##level;
TABLES(ref)
TABLES(avx2)
TABLES(avx512)
TABLES(avx512bf16)
TABLES(avx512vnni)
TABLES(amxbf16)
TABLES(amxint8)

/* A build holds the kernels of its own architecture: the Makefile leaves out the other folders. */
#if defined(__x86_64__)
#define X86(table) &table
#else
#define X86(table) NULL
#endif
#if defined(__aarch64__)
#define ARM(table) &table
#else
#define ARM(table) NULL
#endif

#define AVX2 "avx2 fma f16c"
#define AVX512 AVX2 " avx512f avx512bw avx512dq avx512vl"
#define AVX512BF16 AVX512 " avx512_bf16"
#define AMXBF16 AVX512BF16 " amx_tile amx_bf16"
#define VNNI " avx512_vnni"
#define AMXINT8 " amx_int8"

/* Of each architecture the slowest first: AUTO takes the last row that the CPU has. */
static const level levels[] = {
    {.isa = MSIM_ISA_REF,
     .name = "ref",
     .arch = "any",
     .needs = "",
     .encoder = &ms_encoder_ref,
     .scan_f32 = &ms_scan_f32_ref,
     .scan_bf16 = &ms_scan_bf16_ref,
     .whiten = &ms_whiten_ref,
     .integers = {{"", &ms_scan_int8_ref, &ms_int8_ref}},
     .joins = {{"", &ms_join_ref}}},
    {.isa = MSIM_ISA_AVX2,
     .name = "avx2",
     .arch = "x86-64",
     .needs = AVX2,
     .encoder = X86(ms_encoder_avx2),
     .scan_f32 = X86(ms_scan_f32_avx2),
     .scan_bf16 = X86(ms_scan_bf16_avx2),
     .whiten = X86(ms_whiten_avx2),
     .integers = {{AVX2, X86(ms_scan_int8_avx2), X86(ms_int8_avx2)}},
     .joins = {{AVX2, X86(ms_join_avx2)}}},
    {.isa = MSIM_ISA_AVX512,
     .name = "avx512",
     .arch = "x86-64",
     .needs = AVX512,
     .encoder = X86(ms_encoder_avx512),
     .scan_f32 = X86(ms_scan_f32_avx512),
     .scan_bf16 = X86(ms_scan_bf16_avx512),
     .whiten = X86(ms_whiten_avx512),
     .integers = {{AVX512 VNNI, X86(ms_scan_int8_avx512vnni), X86(ms_int8_avx512vnni)},
                  {AVX512, X86(ms_scan_int8_avx2), NULL}},
     .joins = {{AVX512 VNNI, X86(ms_join_avx512vnni)}, {AVX512, X86(ms_join_avx2)}}},
    {.isa = MSIM_ISA_AVX512BF16,
     .name = "avx512bf16",
     .arch = "x86-64",
     .needs = AVX512BF16,
     .encoder = X86(ms_encoder_avx512bf16),
     .scan_f32 = X86(ms_scan_f32_avx512),
     .scan_bf16 = X86(ms_scan_bf16_avx512),
     .whiten = X86(ms_whiten_avx512),
     .integers = {{AVX512BF16 VNNI, X86(ms_scan_int8_avx512vnni), X86(ms_int8_avx512vnni)},
                  {AVX512BF16, X86(ms_scan_int8_avx2), NULL}},
     .joins = {{AVX512BF16 VNNI, X86(ms_join_avx512vnni)}, {AVX512BF16, X86(ms_join_avx2)}}},
    {.isa = MSIM_ISA_AMXBF16,
     .name = "amxbf16",
     .arch = "x86-64",
     .needs = AMXBF16,
     .encoder = X86(ms_encoder_amxbf16),
     .scan_f32 = X86(ms_scan_f32_avx512),
     .scan_bf16 = X86(ms_scan_bf16_avx512),
     .whiten = X86(ms_whiten_avx512),
     .integers = {{AMXBF16 VNNI, X86(ms_scan_int8_avx512vnni), X86(ms_int8_avx512vnni)},
                  {AMXBF16, X86(ms_scan_int8_avx2), NULL}},
     .joins = {{AMXBF16 VNNI AMXINT8, X86(ms_join_amxint8)},
               {AMXBF16 VNNI, X86(ms_join_avx512vnni)},
               {AMXBF16, X86(ms_join_avx2)}}},
};
enum { N_LEVELS = sizeof levels / sizeof *levels };

/* ---- What the CPU has ------------------------------------------------------------------------ */

#if defined(__x86_64__)
/* __builtin_cpu_supports also asks whether the operating system saves the wide registers. Tiles
 * count only with permission to use them. */
static int has_feature(const char *word, size_t len) {
    unsigned a, b, c, d;
#define IS(name) (len == sizeof name - 1 && memcmp(word, name, len) == 0)
    __builtin_cpu_init();
    if (IS("avx2")) return __builtin_cpu_supports("avx2");
    if (IS("fma")) return __builtin_cpu_supports("fma");
    if (IS("f16c")) return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    if (IS("avx512f")) return __builtin_cpu_supports("avx512f");
    if (IS("avx512bw")) return __builtin_cpu_supports("avx512bw");
    if (IS("avx512dq")) return __builtin_cpu_supports("avx512dq");
    if (IS("avx512vl")) return __builtin_cpu_supports("avx512vl");
    if (IS("avx512_bf16")) return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5);
    if (IS("avx512_vnni")) return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 11);
    if (IS("amx_tile")) return ms_tiles_state() == MS_TILES_GRANTED;
    if (IS("amx_int8")) return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & 1u << 25);
    if (IS("amx_bf16")) return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & 1u << 22);
#undef IS
    return 0;
}
#else
static int has_feature(const char *word, size_t len) {
    (void)word;
    (void)len;
    return 0;
}
#endif

static int cpu_has(const char *needs) {
    for (; *needs; needs += strspn(needs, " ")) {
        size_t len = strcspn(needs, " ");
        if (!has_feature(needs, len)) return 0;
        needs += len;
    }
    return 1;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static const level *find(int isa) {
    for (size_t i = 0; i < N_LEVELS; i++)
        if (levels[i].isa == isa) return &levels[i];
    return NULL;
}

/* The row of a level that runs here; NULL for any other. */
static const level *running(int isa) {
    const level *l = find(isa);
    return l && l->encoder && cpu_has(l->needs) ? l : NULL;
}

static const integer_kernels *integers_of(const level *l) {
    for (size_t i = 0; i < N_INTEGERS && l->integers[i].needs; i++)
        if (cpu_has(l->integers[i].needs)) return &l->integers[i];
    return NULL;
}

const ms_cpu_kernels *ms_cpu_kernels_get(int isa) {
    const level *l = running(isa);
    return l ? l->encoder : NULL;
}

const ms_scan_kernels *ms_scan_kernels_get(int isa) {
    const level *l = running(isa);
    return l ? l->scan_f32 : NULL;
}

const ms_codes_kernels *ms_codes_kernels_get(int isa, int is_int8) {
    const level *l = running(isa);
    if (!l || !is_int8) return l ? l->scan_bf16 : NULL;
    const integer_kernels *k = integers_of(l);
    return k ? k->scan_int8 : NULL;
}

const ms_whiten_kernels *ms_cpu_whiten_kernels(int isa) {
    const level *l = running(isa);
    return l ? l->whiten : NULL;
}

const ms_join_kernels *ms_cpu_join_kernels(int isa) {
    const level *l = running(isa);
    for (size_t i = 0; l && i < N_JOINS && l->joins[i].needs; i++)
        if (cpu_has(l->joins[i].needs)) return l->joins[i].join;
    return NULL;
}

const ms_int8_kernels *ms_int8_kernels_get(int isa) {
    const level *l = running(isa);
    const integer_kernels *k = l ? integers_of(l) : NULL;
    return k ? k->int8 : NULL;
}

/* ---- Names and choice ------------------------------------------------------------------------ */

const char *ms_cpu_isa_name(int isa) {
    const level *l = find(isa);
    return isa == MSIM_ISA_AUTO ? "auto" : l ? l->name : NULL;
}

int ms_cpu_isa_list(int index) {
    for (size_t i = 0; i < N_LEVELS && index >= 0; i++)
        if (levels[i].encoder && index-- == 0) return levels[i].isa;
    return -1;
}

const char *ms_cpu_isa_needs(int isa, int precision) {
    const level *l = find(isa);
    if (!l || !l->encoder) return NULL;
    if (precision != MSIM_PRECISION_INT8) return l->needs;
    for (size_t i = 0; i < N_INTEGERS; i++)
        if (l->integers[i].int8) return l->integers[i].needs;
    return NULL;
}

int ms_cpu_isa_is_available(int isa, int precision) {
    return precision == MSIM_PRECISION_INT8 ? ms_int8_kernels_get(isa) != NULL
                                            : running(isa) != NULL;
}

int ms_cpu_isa_best(void) {
    size_t i = N_LEVELS - 1;
    while (!running(levels[i].isa)) i--; /* the reference runs everywhere */
    return levels[i].isa;
}

static int unknown_level(int requested, msim_error *err) {
    char names[200] = "auto";
    for (size_t i = 0, at = strlen(names); i < N_LEVELS && at < sizeof names; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s",
                               i + 1 < N_LEVELS ? ", " : " or ", levels[i].name);
    return ms_fail(err, MSIM_E_ARG, "isa: expected %s, got %d", names, requested);
}

int ms_cpu_isa_choose(int requested, int *out, msim_error *err) {
    const level *best = find(ms_cpu_isa_best());
    const level *l = requested == MSIM_ISA_AUTO ? best : find(requested);
    if (!l) return unknown_level(requested, err);
    if (!l->encoder)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "isa: expected a level that this build has (best here: %s), got %s, for %s",
                       best->name, l->name, l->arch);
    if (strstr(l->needs, "amx_tile") && ms_tiles_state() == MS_TILES_REFUSED)
        return ms_fail(
            err, MSIM_E_UNSUPPORTED,
            "isa: expected a level that the operating system allows (best here: %s), got "
            "%s: Linux refused this process the tile registers of AMX",
            best->name, l->name);
    if (!running(l->isa))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "isa: expected a level that this CPU has (best here: %s), got %s",
                       best->name, l->name);
    *out = l->isa;
    return MSIM_OK;
}
