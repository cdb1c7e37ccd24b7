/* What the kernel tests share: the levels to test, one printed line each,
 * numbers and memory. */
#ifndef TEST_SUPPORT_LEVELS_H
#define TEST_SUPPORT_LEVELS_H
#include "base/mem.h"
#include "cpu/levels.h"
#include "support/random.h"
#include "support/test.h"

/* Every level of this build, the reference first. */
#define FOR_EACH_ISA(isa) for (int isa, index_ = 0; (isa = ms_cpu_isa_list(index_)) > 0; index_++)

/* test/run reads "level NAME: skipped" and knows from the tools which levels this CPU has. */
static inline void print_levels(const char *subject) {
    FOR_EACH_ISA(isa)
    printf("%s: level %s: %s\n", subject, ms_cpu_isa_name(isa),
           ms_cpu_kernels_get(isa) ? "run" : "skipped (not in this build or CPU)");
}

#define FOR_EACH_LEVEL(kernels) \
    FOR_EACH_ISA(isa_)          \
    for (const ms_cpu_kernels *kernels = ms_cpu_kernels_get(isa_); kernels; kernels = NULL)

/* Under the sanitizers the scalar level is some 30 times slower: tests then leave out what adds
 * time and no new code. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static inline void *test_alloc(size_t n_items, size_t item_bytes) {
    void *p = ms_alloc(n_items, item_bytes, "test", NULL);
    assert_non_null(p);
    return p;
}
#endif
