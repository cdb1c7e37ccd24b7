/* One pass of a searcher over the rows, as its files share it: query/pass.c searches and answers,
 * query/pieces.c does the same for corpora whose pieces have several rows. */
#ifndef MS_QUERY_PASS_H
#define MS_QUERY_PASS_H
#include "query/searcher.h"

/* Queries from .. to - 1, and who gets the answers. */
typedef struct {
    msim_searcher *s;
    msim_answer_sink sink;
    void *user;
    size_t from, to;
    const float *vectors; /* borrowed: [n_vectors, dim], that are searched */
    size_t n_vectors;
    msim_search_options options;
    msim_pass_stats stats;
    bool is_out_of_memory; /* a hit found no room */
} ms_query_pass;

/* A pass over the vectors of queries from .. to - 1; nobody gets its answers yet. */
ms_query_pass ms_query_pass_of(msim_searcher *s, size_t from, size_t to);
/* Before any pass: queries whose beginning is embedded in every key choose their keys, and are
 * embedded whole in these (query/likely.c). */
int ms_query_choose_keys(msim_searcher *s, msim_error *err);

/* The k best rows of each vector: rows and scores [n_vectors, k]. Returns how many of each. */
int64_t ms_query_search_top(ms_query_pass *p, int64_t k, int64_t *rows, double *scores,
                            msim_error *err);
/* All rows that score `threshold` or more, into the searcher's hits in order of vector. */
int ms_query_search_above(ms_query_pass *p, double threshold, msim_error *err);
/* Hand over the searcher's n matches as those of a query; they are ranked already. */
int ms_query_answer(ms_query_pass *p, size_t query, int64_t n, msim_error *err);
int ms_query_reserve_matches(msim_searcher *s, size_t n, msim_error *err);

/* Leave rows out of the pass: the searcher's own, and `rows` [n] in any order. The options of the
 * pass point to the list that is returned, which the caller frees; NULL when out of memory. */
int64_t *ms_query_exclude(ms_query_pass *p, const int64_t *rows, size_t n, msim_error *err);

/* For a corpus whose pieces have several rows: answer a query from the n best rows of each of its
 * vectors (`stride` apart; is_all: there are no more rows), or from all hits [n] that reached the
 * threshold. */
int ms_query_answer_pieces(ms_query_pass *p, size_t query, const int64_t *rows,
                           const double *scores, int64_t n, int64_t stride, bool is_all,
                           msim_error *err);
int ms_query_answer_pieces_above(ms_query_pass *p, size_t query, const ms_query_hit *hits, size_t n,
                                 msim_error *err);
/* Answer a query that has more vectors than a pass has room for, in several passes. */
int ms_query_answer_long(ms_query_pass *p, size_t query, msim_error *err);

#endif
