/* Queries over a corpus: every candidate ranked by the exact search, and measured. */
#ifndef MS_TOOLS_EVAL_RANK_H
#define MS_TOOLS_EVAL_RANK_H
#include "truth.h"

/* One corpus, measured. */
typedef struct {
    const char *path; /* borrowed: what it is called */
    msim_eval *eval;  /* owned */
    int64_t n_pieces, n_rows;
    int64_t n_alone;  /* queries without a relative, which are not asked */
    int64_t n_broken; /* rows of queries that are left out: NaN or infinity */
} ms_eval_column;

/* Ask all queries that have a relative: the pieces of `queries`, or with NULL those of the corpus
 * itself, each of which does not find itself. -MSIM_E_EMPTY when no query has one. */
int ms_eval_rank(const ms_eval_settings *set, ms_eval_truth *truth, const msim_corpus *corpus,
                 const msim_corpus *queries, ms_eval_column *out, msim_error *err);

#endif
