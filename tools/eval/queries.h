/* The queries of one corpus: which rows belong to which, and what they are called. */
#ifndef MS_TOOLS_EVAL_QUERIES_H
#define MS_TOOLS_EVAL_QUERIES_H
#include "truth.h"

/* Rows of all queries, query by query. A query has rows for its windows, and where its name is in
 * several parts of the corpus, one set of them for each part: the query in several keys. */
typedef struct {
    int64_t *rows;   /* owned: [n_rows] */
    int64_t *starts; /* owned: [n + 1] */
    int64_t n, n_rows;
    ms_eval_labels labels; /* owned: of each query */
    msim_name_set *names;  /* owned: NULL when queries are the pieces of the corpus itself */
} ms_eval_queries;

/* is_own: the pieces of the corpus. Otherwise rows of the same name are one query. */
int ms_eval_queries_open(ms_eval_truth *truth, const msim_corpus *corpus, bool is_own,
                         ms_eval_queries *out, msim_error *err);
void ms_eval_queries_close(ms_eval_queries *queries);

#endif
