/* The corpus of midisim-search, the codes of its rows, what the descriptions beside its parts say,
 * and the model that they ask for. */
#ifndef MS_TOOLS_SEARCH_CORPUS_H
#define MS_TOOLS_SEARCH_CORPUS_H
#include "common/corpus/made.h"
#include "options.h"

typedef struct {
    const ms_search_settings *set; /* borrowed */
    msim_corpus *corpus;           /* owned: what is searched */
    msim_corpus *raw;              /* owned: with --whiten, what it was made from; else NULL */
    msim_corpus_info info;
    ms_made how;
} ms_search_corpus;

int ms_search_corpus_open(const ms_search_settings *set, ms_search_corpus *out, msim_error *err);
void ms_search_corpus_close(ms_search_corpus *c);
/* --whiten: search the whitened rows instead. With may_write they are written if need be. */
int ms_search_corpus_whiten(ms_search_corpus *c, bool may_write, msim_error *err);
/* Attach the codes of its rows that are there; with may_write also write those that --prepare and
 * --cache ask for (search/codes.c). */
int ms_search_codes_attach(const ms_search_corpus *c, bool may_write, msim_error *err);
/* Something about the corpus contradicts the request: an error, or with --force a warning. `where`
 * is a file. */
int ms_search_contradict(const ms_search_settings *set, const char *what, const char *where,
                         const char *expected, const char *got, msim_error *err);

/* The model for MIDI queries, and its settings as the corpus was made. */
typedef struct {
    msim_model *model; /* owned; NULL when no query is a MIDI file */
    msim_model_info info;
    bool is_weighted; /* the pooling in force, its weights, and the limit (0: none) */
    float weights[MS_DESCRIPTION_CLASSES];
    int64_t max_tokens;
    int64_t window_tokens, window_step; /* queries are cut as rows were; 0: they are not */
    bool is_pooled;
} ms_search_model;

int ms_search_model_open(const ms_search_corpus *corpus, ms_search_model *out, msim_error *err);
void ms_search_model_close(ms_search_model *m);

#endif
