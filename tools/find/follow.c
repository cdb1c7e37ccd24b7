/* Queries on several ranks. Contract: tools/find/follow.h. */
#include "follow.h"
#include "base/mem.h"
#include "common/ranks.h"
#include <sys/stat.h>

int ms_find_check_ranks(const char *index, bool is_stream, msim_error *err) {
    struct stat st;
    if (ms_ranks_count() == 1) return 0;
    if (is_stream)
        return ms_fail(
            err, MSIM_E_ARG,
            "--stream works in a single process, not on %d ranks: start it without mpirun",
            ms_ranks_count());
    if (stat(index, &st) != 0 || !S_ISDIR(st.st_mode)) return 0;
    return ms_fail(err, MSIM_E_ARG,
                   "%.300s: expected an index on several ranks, got a folder: midisim-index makes "
                   "one of it",
                   index);
}

/* The notes of rank 0's query, on all ranks; n < 0: there is none. */
void ms_find_lead(ms_asked *q, msim_finder *finder) {
    int64_t n = (int64_t)q->n_notes;
    ms_ranks_broadcast(0, &n, sizeof n);
    if (ms_ranks_agree(0, &q->err) < 0) return;
    ms_ranks_broadcast(0, q->notes, q->n_notes * sizeof *q->notes);
    ms_asked_answer(q, finder);
}

void ms_find_dismiss(void) {
    int64_t none = -1;
    if (ms_ranks_count() > 1) ms_ranks_broadcast(0, &none, sizeof none);
}

int ms_find_follow(msim_finder *finder) {
    const msim_note_match *matches;
    msim_error err;
    for (int64_t n;;) {
        ms_ranks_broadcast(0, &n, sizeof n);
        if (n < 0) return 0;
        msim_note *notes = ms_alloc((size_t)n, sizeof *notes, "a query", &err);
        if (ms_ranks_agree(notes ? 0 : -MSIM_E_MEMORY, &err) >= 0) {
            ms_ranks_broadcast(0, notes, (size_t)n * sizeof *notes);
            (void)msim_finder_find(finder, notes, (size_t)n, &matches, &err);
        }
        ms_free(notes);
    }
}
