/* Contract: tools/serve/handles.h. */
#include "handles.h"

/* As midisim-search --keys likely. */
enum { LIKELY_KEYS = 3, KEYS = 6 };
/* Of a query: real pieces are smaller. */
enum { LARGE_BYTES = 1 << 20, LARGE_NOTES = 20000 };

int ms_handles_reader(ms_handles *h, msim_error *err) {
    return h->reader ? MSIM_OK : msim_note_reader_open(&h->reader, err);
}

static void close_finders(ms_handles *h) {
    for (int i = 0; i < 2; i++) {
        msim_finder_close(h->finders[i]);
        h->finders[i] = NULL;
    }
}

void ms_handles_give_back(ms_handles *h, const ms_ask *ask, size_t n_notes) {
    if (ask->n_bytes < LARGE_BYTES && n_notes < LARGE_NOTES) return;
    msim_note_reader_close(h->reader);
    close_finders(h);
    h->reader = NULL;
}

/* Whatever k: the best come first. */
int ms_handles_finder(ms_handles *h, const ms_ask *ask, msim_finder **out, msim_error *err) {
    const int is_own = ask->keys == MS_ASK_OWN;
    msim_finder_options o = msim_finder_options_default();
    o.max_matches = MS_ASK_MAX_K;
    o.evalue = h->stock->set->evalue;
    o.is_same_key = is_own;
    o.should_stop = h->stop.should_stop;
    o.stop_user = h->stop.user;
    const int rc = h->finders[is_own]
                       ? MSIM_OK
                       : msim_finder_open(h->stock->notes, &o, &h->finders[is_own], err);
    *out = h->finders[is_own];
    return rc;
}

/* Whatever k: the order is total. */
int ms_handles_searcher(ms_handles *h, const ms_ask *ask, msim_error *err) {
    const ms_serve_stock *s = h->stock;
    const bool has_keys = ask->kind != MS_ASK_PIECE; /* a row is compared as it is */
    if (h->searcher && (!has_keys || h->searcher_keys == ask->keys)) return MSIM_OK;
    msim_options o = ms_cli_library_options(&s->set->common);
    msim_searcher_options so = msim_searcher_options_default();
    o.threads = h->threads;
    so.k = MS_ASK_MAX_K;
    so.transpose = ask->keys == MS_ASK_OWN ? 0 : KEYS;
    so.should_stop = h->stop.should_stop;
    so.stop_user = h->stop.user;
    if (s->how.is_described) {
        so.max_tokens = s->how.made.max_tokens;
        so.window_tokens = s->how.made.window_tokens;
        so.window_step = s->how.made.window_step;
        so.is_pooled = s->how.made.is_pooled;
    }
    so.class_weights = s->is_weighted ? s->weights : NULL;
    so.n_class_weights = !s->is_weighted       ? 0
                         : s->how.is_described ? s->how.made.n_classes
                                               : s->model_info.n_classes;
    if (ask->keys == MS_ASK_LIKELY && s->model && !so.window_tokens) so.likely_keys = LIKELY_KEYS;
    msim_searcher_close(h->searcher);
    h->searcher = NULL;
    h->searcher_keys = ask->keys;
    return msim_searcher_open(s->model, s->corpus, &o, &so, &h->searcher, err);
}

void ms_handles_close(ms_handles *h) {
    msim_note_reader_close(h->reader);
    close_finders(h);
    msim_searcher_close(h->searcher);
}
