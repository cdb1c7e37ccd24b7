/* midisim-search in parts: search/options.c (what may be asked), search/corpus.c (corpus,
 * descriptions, model), search/codes.c (small copies of the rows), search/find.c (rows by name),
 * search/queries.c (where queries come from), search/pass.c (one pass over the rows for a group of
 * queries, and its output), search/ranks.c (rows shared by several processes); search.c puts them
 * together. One thread. Functions that return an exit code return -1 to go on. docs/SEARCH.md. */
#ifndef MS_TOOLS_SEARCH_SEARCH_H
#define MS_TOOLS_SEARCH_SEARCH_H
#include "common/cli.h"
#include "copy_to.h"
#include "common/skips.h"
#include "common/watch.h"
#include "pipeline/files.h"
#include "results.h"
#include "find.h"
#include "pipeline/description.h"

enum {
    MS_SEARCH_VARIANTS = 12, /* the most that one query has */
    MS_SEARCH_VECTORS = 60,  /* of one pass, at most */
    MS_SEARCH_EXTRA = 64,    /* rows of --exclude-self that a pass fetches in excess rather than
                              * leave out */
    MS_SEARCH_TOKENS = 3072  /* limit of a query where neither corpus nor command line has one */
};

typedef struct {
    ms_cli_common common;
    ms_cli_texts corpora, likes, vectors, excluded, midi_roots;
    const char *names_file, *excluded_from, *cache, *copy_to;
    int64_t k, transpose, max_tokens;
    double threshold;
    int pooling, format, metric, scan; /* pooling and format -1: not given */
    float weights[3];
    bool is_json, is_forced, keeps_variants, excludes_self, prepares, verifies, omits_original;
    bool has_threshold; /* derived: --threshold was given */
} ms_search_settings;

/* A query whose vectors are in the group. */
typedef struct {
    char *label; /* owned: what it is called, not NUL-terminated */
    size_t n_label;
    size_t first, n_variants;   /* its vectors */
    const ms_files_entry *file; /* borrowed: the MIDI file, or NULL */
    unsigned char *stream;      /* owned: what came from standard input, kept for --copy-to */
    size_t stream_bytes;
    bool is_row;   /* a row of the corpus: the label is its name */
    int64_t *self; /* owned: rows that --exclude-self takes from it, ascending */
    size_t n_self, self_cap;
} ms_search_query;

/* A row that reached the threshold. */
typedef struct {
    size_t vector; /* of the group */
    int64_t row;
    double score;
} ms_search_hit;

/* One run. */
typedef struct {
    ms_search_settings *set;
    msim_corpus *corpus; /* owned */
    msim_corpus_info rows;
    bool is_described; /* `made` says what all described parts were made with */
    ms_description made;
    int64_t n_undescribed;     /* parts without a description, and the first of them */
    const char *undescribed;   /* borrowed from the corpus */
    msim_model *model;         /* owned; NULL when no query is a MIDI file */
    msim_tokenizer *tokenizer; /* owned; as model */
    msim_model_info model_info;
    msim_context *encoder;  /* owned; NULL until the first MIDI query */
    msim_context *searcher; /* owned */
    int64_t n_held;         /* rows of the corpus that this process searches */
    bool is_weighted;       /* the pooling in force, its weights, and the limit (0: none) */
    float weights[3];
    int64_t max_tokens;
    int64_t batch_tokens; /* what the encoder was opened for */
    size_t midi_variants; /* of each MIDI query */

    ms_files_list files;   /* MIDI queries */
    msim_corpus **sets;    /* owned: [set->vectors.n], rows that are queries */
    int64_t n_queries;     /* of all kinds */
    ms_search_names names; /* rows of the corpus by the names that matter */
    int64_t *excluded;     /* owned: rows that are no results, ascending */
    size_t n_excluded, excluded_cap;
    ms_files_skips *skips; /* owned */
    ms_files_buffer buffer;
    int32_t *ids; /* owned: [ids_cap] */
    size_t ids_cap;
    char *name; /* owned: scratch, the name in hand */
    size_t name_cap;

    ms_search_query group[MS_SEARCH_VECTORS];
    size_t n_group, n_vectors, group_cap; /* queries and vectors in the group, and the most
                                           * vectors */
    float *vectors;                       /* owned: [group_cap, dim] */
    int64_t *hit_rows;                    /* owned: [group_cap, k + extra] */
    double *hit_scores;                   /* owned: as hit_rows */
    ms_search_hit *hits;                  /* owned: of --threshold */
    size_t n_hits, hits_cap;
    ms_results_match *matches; /* owned: scratch of one query */
    size_t matches_cap;

    ms_results_out out;
    ms_copy_to *copier; /* owned; NULL without --copy-to */
    int64_t n_searched, n_matches, n_cut, n_failed;
    double embed_seconds, search_seconds;
} ms_search_job;

/* ---- search/options.c ---- */

extern const ms_cli_tool ms_search_tool;
ms_search_settings ms_search_settings_default(void);
/* Combinations that mean nothing end here, before any work; settings that follow from others are
 * derived. */
int ms_search_check_usage(ms_search_settings *set);

/* ---- search/corpus.c ---- */

int ms_search_open_corpus(ms_search_job *j);
/* For MIDI queries: the model, and its settings as the corpus was made. */
int ms_search_open_model(ms_search_job *j);
/* Something about the corpus contradicts the request: an error, or with --force a warning. `where`
 * is a file. */
int ms_search_contradict(const ms_search_job *j, const char *what, const char *where,
                         const char *expected, const char *got);

/* ---- search/codes.c ---- */

/* Attach the copies that are there, writing those that --prepare and --cache ask for. */
int ms_search_attach_codes(ms_search_job *j);

/* ---- search/queries.c ---- */

/* Open what the queries come from, and check that it fits the corpus. */
int ms_search_open_queries(ms_search_job *j);
/* Look up all names that matter in one pass over the corpus's names: --like, --exclude and
 * --exclude-self. */
int ms_search_find_names(ms_search_job *j);
/* Every query in turn, in groups. Returns an exit code. */
int ms_search_run_queries(ms_search_job *j);
void ms_search_close_queries(ms_search_job *j);
/* Name of a row of any corpus into j->name; returns its bytes. */
size_t ms_search_name(ms_search_job *j, const msim_corpus *corpus, int64_t row);
/* Append --exclude-self's rows for a name; and put a list of rows in order, each once. */
void ms_search_add_rows(const ms_search_job *j, const char *name, size_t n, int64_t **rows,
                        size_t *n_rows, size_t *cap);
void ms_search_sort_rows(int64_t *rows, size_t *n_rows);

/* ---- search/pass.c ---- */

/* Buffers, and a context that holds the corpus, or of several ranks each its part; collective. */
int ms_search_open_pass(ms_search_job *j, msim_error *err);
/* Search the group's vectors in one pass and print each query; the group is empty afterwards. 0, 1
 * when output ended, or < 0 with err filled. */
int ms_search_pass(ms_search_job *j, msim_error *err);
void ms_search_close_pass(ms_search_job *j);

/* ---- search/ranks.c ---- */

/* Collective, as tools/common/ranks.h has it: load this rank's rows of the corpus. */
int ms_search_load_part(ms_search_job *j, msim_error *err);
/* Rank 0: the k best of each of n_vectors queries into hit_rows and hit_scores [n_vectors, k], and
 * all rows above the threshold for the group's vectors into hits, over the rows of all ranks; `out`
 * has the pass's numbers. As msim_context_search_with and _above. */
int64_t ms_search_top(ms_search_job *j, const msim_search_options *options, const float *vectors,
                      size_t n_vectors, int64_t k, msim_error *err);
int ms_search_above(ms_search_job *j, const msim_search_options *options, msim_error *err);
/* Rank 0, when it needs the others no more. */
void ms_search_dismiss(ms_search_job *j);
/* The other ranks: search what rank 0 asks, until it dismisses them. */
void ms_search_serve(ms_search_job *j);

#endif
