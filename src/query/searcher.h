/* What the files of the searcher share. searcher.c opens it and takes its queries, pass.c answers
 * them. */
#ifndef MS_QUERY_SEARCHER_H
#define MS_QUERY_SEARCHER_H
#include "corpus/fits/cohort.h"
#include "query/embedder.h"
#include "query/read.h"
#include "search/variants.h"

enum {
    /* The most own rows of a query (msim_searcher_exclude) for which a pass fetches more rows and
     * drops these. With more own rows, a query gets a pass alone that leaves them out. */
    MS_QUERY_EXTRA = 64
};

/* A query that waits. */
typedef struct {
    size_t first, n_variants; /* its vectors [n_variants, n_windows]: keys and their windows */
    size_t n_windows;         /* 1 when it is not cut */
    msim_span *spans;         /* owned: [n_windows]; NULL: it is not cut */
    msim_bar_span *bars;      /* owned: the same in bars */
    /* With likely_keys: its keys until some are chosen, key i in ids[starts[i] .. starts[i + 1]);
     * its vectors are those of its beginning. NULL: its vectors are final. */
    int32_t *ids; /* owned */
    int64_t starts[MS_QUERY_VARIANTS + 1];
    int8_t keys[MS_QUERY_VARIANTS]; /* of each variant, in semitones, rising */
    int64_t *own;                   /* owned: rows that are none of its matches, rising */
    size_t n_own, own_cap;
} ms_query;

static inline size_t ms_query_vectors(const ms_query *q) { return q->n_variants * q->n_windows; }
/* The key of one of its vectors, in semitones. */
static inline int ms_query_semitones(const ms_query *q, size_t vector) {
    return q->keys[vector / q->n_windows];
}

/* A row that reached the threshold. */
typedef struct {
    size_t vector; /* counted from the pass's first */
    int64_t row;
    double score;
} ms_query_hit;

struct msim_searcher {
    const msim_corpus *corpus;       /* borrowed */
    msim_searcher_options set;       /* excluded: owned, rising */
    const msim_whitening *whitening; /* borrowed from the corpus; NULL: its rows are not whitened */
    int64_t n_rows, dim;
    bool has_spans;             /* pieces or queries may have several vectors: pieces are found */
    int64_t n_pieces;           /* as many as rows without spans */
    ms_query_embedder embedder; /* owned; zero without a model */
    ms_files_buffer bytes;      /* owned: the file in hand */
    int outcome;                /* msim_outcome of the last MIDI query */
    msim_context *context;      /* owned; NULL when passes are the caller's */

    ms_query *queries; /* owned: [n_queries], those that wait */
    size_t n_queries, queries_cap;
    float *vectors; /* owned: [vectors_cap, dim], theirs */
    size_t n_vectors, vectors_cap;

    int64_t fetched;    /* hits of each vector that a pass may ask for */
    int64_t *hit_rows;  /* owned: [max_vectors, fetched] */
    double *hit_scores; /* owned: as hit_rows */
    ms_query_hit *hits; /* owned: [n_hits], of a threshold */
    size_t n_hits, hits_cap;
    msim_match *matches; /* owned: scratch of one query */
    size_t matches_cap;
    msim_span *match_spans;    /* owned: scratch of one query, the place of each match in it */
    msim_bar_span *match_bars; /* owned: the same in bars */
    size_t match_spans_cap, match_bars_cap;
    ms_piece_match *found; /* owned: [n_found], scratch of one query, with spans */
    size_t n_found, found_cap;
    msim_searcher_stats stats;

    ms_cohort cohort;      /* owned; no rows: nothing is known about chances (query/meaning.c) */
    double *cohort_scores; /* owned: [cohort.n], scratch of one vector */
    ms_level *levels;      /* owned: scratch of one query, of each vector; none known: n is 0 */
    size_t levels_cap;
    double *z; /* owned: scratch of one query, of each match */
    size_t z_cap;
};

/* Rows to fetch of each vector so that `extra` of them may be dropped afterwards. */
int64_t ms_searcher_fetched(const msim_searcher *s, int64_t extra);
/* Drop all queries that wait. */
void ms_searcher_forget(msim_searcher *s);
/* Whiten n vectors in their place, if the rows are whitened. */
int ms_searcher_whiten(const msim_searcher *s, float *vectors, size_t n, msim_error *err);

/* What chances follow from: rows of the corpus with which scores are compared. */
int ms_searcher_open_meaning(msim_searcher *s, msim_error *err);
void ms_searcher_close_meaning(msim_searcher *s);
/* z of the searcher's first n matches, those of a query. */
int ms_searcher_find_z(msim_searcher *s, const ms_query *q, int64_t n, msim_error *err);

#endif
