/* The inputs of a job that gave no row, each with its reason, in the order in which they were
 * added. One thread. */
#ifndef MS_PIPELINE_INPUT_SKIPS_H
#define MS_PIPELINE_INPUT_SKIPS_H
#include "base/mem.h"

typedef struct {
    const char *path, *detail; /* owned by the list */
    uint8_t reason;            /* msim_skip_reason */
    bool is_failure;
} ms_skip;

/* Start from {0}. */
typedef struct {
    ms_skip *items; /* owned: [n] */
    size_t n, cap;
    ms_arena texts;
    int64_t n_failures, counts[MSIM_SKIP_COUNT];
} ms_skips;

/* Add an input. detail may be NULL; is_named: it was given by name, not found in a folder. Both
 * texts are copied. */
int ms_skips_add(ms_skips *skips, const char *path, int reason, const char *detail, bool is_named,
                 msim_error *err);
void ms_skips_close(ms_skips *skips);

#endif
