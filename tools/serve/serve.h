/* Between the files of midisim-serve: what was asked for on the command line, and what is served.
 *   options   what may be asked          stock    corpus, note index and model, shared by all
 *   ask       one request, read          answer   one request, answered: the work of a thread
 *   tasks      the queue and its threads  http     connections, limits, routes
 *   guard     who may ask at all         assets   the page
 *   handles   reader, finder and searcher of a thread */
#ifndef MS_TOOLS_SERVE_SERVE_H
#define MS_TOOLS_SERVE_SERVE_H
#include "common/cli.h"
#include "common/corpus/made.h"

typedef struct {
    ms_cli_common common;
    const char *notes, *listen;
    ms_cli_texts roots;
    int64_t port, workers, queue, max_body, max_seconds; /* max_body: MiB */
    double evalue;
} ms_serve_settings;

extern const ms_cli_tool ms_serve_tool;
int ms_serve_check(const ms_serve_settings *settings);

/* ---- What is served: immutable once it is open ---- */

typedef struct {
    const ms_serve_settings *set; /* borrowed */
    msim_corpus *corpus;          /* owned; NULL: a note index alone */
    msim_corpus_info info;
    msim_notes *notes; /* owned; NULL: vectors alone */
    int64_t n_pieces;  /* of the note index */
    msim_model *model; /* owned; NULL: no query but rows can be compared by vectors */
    msim_model_info model_info;
    ms_made how;
    bool is_weighted; /* how vectors of queries are pooled, as those of the corpus were */
    float weights[MS_DESCRIPTION_CLASSES];
    const char **roots; /* owned: [n_roots] borrowed folders of MIDI files */
    size_t n_roots;
} ms_serve_stock;

/* Close it also when this fails. */
int ms_serve_stock_open(const ms_serve_settings *settings, ms_serve_stock *out, msim_error *err);
void ms_serve_stock_close(ms_serve_stock *stock);

#endif
