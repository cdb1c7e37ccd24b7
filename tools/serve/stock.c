/* What is served: the corpus, its note index, its model. Contract: tools/serve/serve.h. */
#define _GNU_SOURCE
#include "serve.h"
#include "base/mem.h"
#include "common/corpus/quantised.h"
#include "common/notes/open.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool ends_in(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* ---- Notes ---- */

static int open_notes(ms_serve_stock *s, const char *path, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    const char *root = NULL;
    int rc = ms_noteindex_open(path, ms_cli_threads(&s->set->common), &s->notes, &root, err);
    if (rc < 0) return rc;
    if (root) s->roots[s->n_roots++] = root;
    (void)msim_notes_get_info(s->notes, &info);
    s->n_pieces = info.pieces;
    return 0;
}

/* --notes, else what lies beside the corpus, else the folder of --midi-root. */
static int open_beside(ms_serve_stock *s, const char *corpus, msim_error *err) {
    char beside[PATH_MAX];
    const bool has_room = ms_noteindex_beside(corpus, beside, sizeof beside);
    if (s->set->notes) return open_notes(s, s->set->notes, err);
    if (has_room && access(beside, F_OK) == 0) return open_notes(s, beside, err);
    if (s->set->roots.n == 1 && is_folder(s->set->roots.items[0]))
        return open_notes(s, s->set->roots.items[0], err);
    ms_cli_note("searches compare vectors alone, for there is no note index %s: 'midisim-index -o "
                "%s FOLDER' makes one",
                beside, beside);
    return 0;
}

/* ---- Vectors ---- */

/* MIDI files become vectors as the corpus says that its rows were made. */
static int check_model(ms_serve_stock *s, const char *corpus, msim_error *err) {
    if (s->model_info.dim != s->info.dim)
        return ms_fail(err, MSIM_E_ARG,
                       "corpus and model do not fit: %.300s: expected rows of the model's width "
                       "%lld, got %lld",
                       corpus, (long long)s->model_info.dim, (long long)s->info.dim);
    ms_made_say_undescribed(&s->how);
    if (!s->how.is_described) {
        s->is_weighted = ms_made_published(&s->model_info, s->weights);
        return 0;
    }
    if (strcmp(s->how.made.model_sha256, s->model_info.sha256) != 0)
        return ms_fail(err, MSIM_E_ARG,
                       "another model: %.300s: expected the corpus's %s %.12s, got %s %.12s",
                       corpus, s->how.made.family, s->how.made.model_sha256, s->model_info.family,
                       s->model_info.sha256);
    if (s->how.made.is_weighted && s->how.made.n_classes != s->model_info.n_classes)
        return ms_fail(err, MSIM_E_ARG,
                       "corpus and model do not fit: %.300s: expected a model of %d classes of "
                       "tokens, got %d",
                       corpus, s->how.made.n_classes, s->model_info.n_classes);
    return 0;
}

/* Without a model the rest is served: only -m insists on one. */
static int open_model(ms_serve_stock *s, const char *corpus, msim_error *err) {
    char path[PATH_MAX + 256];
    msim_error why;
    int rc = ms_cli_model_path(&s->set->common, path, sizeof path, &why);
    if (rc < 0 && s->notes && !s->set->common.model) {
        ms_cli_note("searches of MIDI files compare notes alone: %s", why.text);
        return 0;
    }
    if (rc < 0) return ms_fail(err, -rc, "%s", why.text);
    msim_options o = ms_cli_library_options(&s->set->common);
    if (s->how.is_described && s->how.made.has_tokens) {
        o.token_order = s->how.made.token_order;
        o.is_unclean = s->how.made.is_unclean;
    }
    rc = msim_model_open(path, &o, &s->model, err);
    if (rc < 0) return rc;
    s->model_info.size = sizeof s->model_info;
    rc = msim_model_get_info(s->model, &s->model_info);
    return rc < 0 ? rc : check_model(s, corpus, err);
}

static int open_vectors(ms_serve_stock *s, const char *path, msim_error *err) {
    int rc = msim_corpus_open(path, NULL, &s->corpus, err);
    if (rc < 0) return rc;
    s->info.size = sizeof s->info;
    rc = msim_corpus_get_info(s->corpus, &s->info);
    if (rc < 0) return rc;
    if (s->info.rows <= 0)
        return ms_fail(err, MSIM_E_EMPTY, "nothing to search: %.300s: the corpus has no rows",
                       path);
    rc = ms_made_read(s->corpus, MS_MADE_CANNOT_FORCE, &s->how, err);
    s->is_weighted = s->how.is_described && s->how.made.is_weighted;
    memcpy(s->weights, s->how.made.pool_weights, sizeof s->weights);
    return rc < 0 ? rc : ms_quantised_attach_beside(s->corpus, MSIM_SCAN_INT8, err);
}

/* ---- Both ---- */

int ms_serve_stock_open(const ms_serve_settings *set, ms_serve_stock *out, msim_error *err) {
    const char *path = set->common.operands.items[0];
    *out = (ms_serve_stock){.set = set};
    out->roots = ms_alloc(set->roots.n + 1, sizeof *out->roots, "folders", err);
    if (!out->roots) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < set->roots.n; i++) out->roots[out->n_roots++] = set->roots.items[i];
    if (ends_in(path, ".notes")) return open_notes(out, path, err);
    if (is_folder(path)) {
        int rc = open_notes(out, path, err);
        if (rc != -MSIM_E_EMPTY) return rc; /* else a folder of vectors */
    }
    int rc = open_vectors(out, path, err);
    if (rc >= 0) rc = open_beside(out, path, err);
    return rc < 0 ? rc : open_model(out, path, err);
}

void ms_serve_stock_close(ms_serve_stock *s) {
    msim_model_close(s->model);
    msim_notes_close(s->notes);
    msim_corpus_close(s->corpus);
    ms_free(s->roots);
}
