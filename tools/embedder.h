/* Token sequences to rows: takes items from a source as they become ready, sorts a window of them by length, packs them
 * into batches within a token budget, embeds, and keeps the rows with their names. Whatever the order of work, the rows
 * are the same. One thread; the encoder's own threads work inside msim_context_embed. */
#ifndef MS_TOOLS_EMBEDDER_H
#define MS_TOOLS_EMBEDDER_H
#include "files.h"

typedef struct {
    const char *name;   /* borrowed from the list of files, or owned by the source: not NUL-terminated */
    uint32_t name_len;
    size_t order;       /* of arrival: breaks ties between equal names */
    size_t at;          /* index of the vector in ms_rows_made.vectors */
} ms_row_made;

typedef struct {
    ms_row_made *rows; /* owned: [n] */
    float *vectors;    /* owned: [n, dim] */
    size_t n, rows_cap, vectors_cap;
    int64_t dim;
} ms_rows_made;

/* One sequence from a source. */
typedef struct {
    const char *name; /* lives as long as the source */
    uint32_t name_len;
    int32_t *ids;     /* owned: free() */
    int64_t n_ids;
} ms_sequence;

/* Where sequences come from. next gives ms_reader_state; END also after a signal. */
typedef struct {
    int (*next)(void *source, bool may_wait, ms_sequence *out);
    void *source;
    int64_t (*n_done)(const void *source); /* inputs taken so far, for the progress line */
    int64_t n_all;                         /* inputs there are, or -1 */
} ms_sequences;

typedef struct {
    const msim_model *model; /* borrowed */
    msim_options options;    /* max_batch_* are set by the embedder */
    int64_t longest;         /* no sequence will be longer; 0: not known */
    const float *type_weights; /* [3], or NULL for the mean */
    bool is_normalized;
} ms_embedder_request;

typedef struct {
    int64_t n_tokens;
    double encoder_seconds, wait_seconds; /* inside the encoder; waiting for sequences */
} ms_embedder_stats;

/* Embed everything that the sequences give, until they end or a signal comes. On failure `made` holds what was
 * finished. */
int ms_embedder_run(const ms_embedder_request *request, const ms_sequences *sequences, ms_rows_made *made,
                    ms_embedder_stats *stats, msim_error *err);
/* Put the rows in bytewise order of name. Returns how many share their name with the row before. */
size_t ms_rows_made_sort(ms_rows_made *made);
void ms_rows_made_free(ms_rows_made *made);

#endif
