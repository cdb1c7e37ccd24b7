/* Corpora: an .npy file mapped, viewed and named. Immutable after open, so any number of threads may read it; names are
 * decoded on demand into the caller's buffer and no row is ever copied. Owns the maps. include/midisim.h, Corpus;
 * docs/FORMATS.md, Corpora. */
#include "search/corpus.h"
#include "core/bf16.h"
#include "core/map.h"
#include "core/mem.h"
#include "npy/names.h"
#include "npy/npy_view.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct msim_corpus {
    ms_map map;        /* owned */
    ms_npy_view view;  /* borrowed from map */
    ms_names names;    /* owned; empty without a names file */
    bool has_names_file;
};

static int open_names(msim_corpus *corpus, const char *rows_path, const char *names_path, msim_error *err) {
    if (corpus->view.name_kind)
        return ms_fail(err, MSIM_E_ARG, "names file: %s: expected a corpus without names, got %s, which has its own",
                       names_path, rows_path);
    int rc = ms_names_open(names_path, &corpus->names, err);
    if (rc < 0) return rc;
    corpus->has_names_file = true;
    if (corpus->names.n_names != (size_t)corpus->view.rows.n_rows)
        return ms_fail(err, MSIM_E_FORMAT, "names file: %s: expected %" PRId64 " lines, one a row of %s, got %zu",
                       names_path, corpus->view.rows.n_rows, rows_path, corpus->names.n_names);
    return MSIM_OK;
}

int msim_corpus_open(const char *rows_path, const char *names_path, msim_corpus **out, msim_error *err) {
    *out = NULL;
    msim_corpus *corpus = ms_alloc(1, sizeof *corpus, "corpus", err);
    if (!corpus) return -MSIM_E_MEMORY;
    int rc = ms_map_open(rows_path, MS_MAP_NORMAL, &corpus->map, err);
    if (rc >= 0) rc = ms_npy_view_init(corpus->map.data, corpus->map.n_bytes, rows_path, &corpus->view, err);
    if (rc >= 0 && names_path) rc = open_names(corpus, rows_path, names_path, err);
    if (rc < 0) {
        msim_corpus_close(corpus);
        return rc;
    }
    *out = corpus;
    return MSIM_OK;
}

void msim_corpus_close(msim_corpus *corpus) {
    if (!corpus) return;
    ms_names_close(&corpus->names);
    ms_map_close(&corpus->map);
    ms_free(corpus);
}

int msim_corpus_get_info(const msim_corpus *corpus, msim_corpus_info *out) {
    msim_corpus_info info = {.rows = corpus->view.rows.n_rows, .dim = corpus->view.rows.dim,
                             .dtype = corpus->view.rows.dtype,
                             .has_names = corpus->view.name_kind || corpus->has_names_file};
    snprintf(info.form, sizeof info.form, "%s", corpus->view.is_record ? "structured" : "plain");
    *out = info;
    return MSIM_OK;
}

int64_t msim_corpus_rows(const msim_corpus *corpus) { return corpus->view.rows.n_rows; }

int64_t msim_corpus_name(const msim_corpus *corpus, int64_t row, char *buf, size_t cap) {
    if (row < 0 || row >= corpus->view.rows.n_rows) return -MSIM_E_ARG;
    if (corpus->view.name_kind) return (int64_t)ms_npy_view_name(&corpus->view, row, buf, cap);
    if (corpus->has_names_file) return (int64_t)ms_names_get(&corpus->names, (size_t)row, buf, cap);
    return snprintf(buf, cap, "%" PRId64, row);
}

int msim_corpus_row(const msim_corpus *corpus, int64_t row, float *out, msim_error *err) {
    const ms_rows *rows = &corpus->view.rows;
    if (row < 0 || row >= rows->n_rows)
        return ms_fail(err, MSIM_E_ARG, "corpus row: expected 0..%" PRId64 ", got %" PRId64, rows->n_rows - 1, row);
    const unsigned char *p = rows->base + (size_t)row * rows->row_bytes;
    size_t step = ms_dtype_bytes(rows->dtype);
    for (int64_t i = 0; i < rows->dim; i++, p += step) {
        uint16_t half;
        double wide;
        switch (rows->dtype) {
        case MSIM_DTYPE_F32: memcpy(&out[i], p, 4); break;
        case MSIM_DTYPE_F64: memcpy(&wide, p, 8), out[i] = (float)wide; break;
        case MSIM_DTYPE_F16: memcpy(&half, p, 2), out[i] = ms_f32_of_f16(half); break;
        default: memcpy(&half, p, 2), out[i] = ms_f32_of_bf16((ms_bf16){half}); break;
        }
    }
    return MSIM_OK;
}

const ms_rows *ms_corpus_views(const msim_corpus *corpus, size_t *n_views) {
    *n_views = 1;
    return &corpus->view.rows;
}
