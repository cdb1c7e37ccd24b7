/* What is known of each content beside its rows, for a job that is asked for it
 * (msim_job_get_piece). One thread. */
#ifndef MS_PIPELINE_FACTS_H
#define MS_PIPELINE_FACTS_H
#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>

/* -1: not known. */
typedef struct {
    int64_t tokens, notes;
    double seconds;
} ms_fact;

/* Start from {0}. */
typedef struct {
    bool is_kept;   /* else nothing is noted, and nothing is known */
    ms_fact *items; /* owned: [n], by the content's number */
    size_t n, cap;
} ms_facts;

int ms_facts_note(ms_facts *facts, uint32_t content, ms_fact fact, msim_error *err);
ms_fact ms_facts_get(const ms_facts *facts, uint32_t content);
void ms_facts_close(ms_facts *facts);

#endif
