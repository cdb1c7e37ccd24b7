/* Views of .fvecs and .fbin files: see vecs.h. Sizes are compared with the file to the byte,
 * because nothing else shows that a file is damaged. docs/FORMATS.md, Corpora. */
#include "corpus/vecs.h"
#include <inttypes.h>
#include <string.h>

enum { SAMPLES = 1024 };

static uint32_t u32_at(const unsigned char *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int check_dim(uint32_t dim, const char *what, size_t at, const char *path, msim_error *err) {
    if (dim >= 1 && dim <= MS_NPY_DIM_MAX) return MSIM_OK;
    return ms_fail(err, MSIM_E_FORMAT,
                   "%s: %s: byte %zu: expected rows of 1..%d components, got %" PRIu32, what, path,
                   at, MS_NPY_DIM_MAX, dim);
}

int ms_fvecs_check_row(const ms_npy_view *view, int64_t row, const char *path, msim_error *err) {
    const unsigned char *p = ms_rows_at(&view->rows, row) - 4;
    if (u32_at(p) == (uint64_t)view->rows.dim) return MSIM_OK;
    return ms_fail(err, MSIM_E_FORMAT,
                   "fvecs: %s: byte %zu: expected %" PRId64 " components in row %" PRId64
                   " as in the first, got %" PRIu32,
                   path, (size_t)row * view->rows.row_bytes, view->rows.dim, row, u32_at(p));
}

int ms_fvecs_view_init(const unsigned char *bytes, size_t n_bytes, const char *path,
                       ms_npy_view *out, msim_error *err) {
    ms_npy_view view = {.format = MSIM_FORMAT_FVECS, .rows = {.dtype = MSIM_DTYPE_F32}};
    if (n_bytes == 0) {
        *out = view;
        return MSIM_OK;
    }
    if (n_bytes < 4)
        return ms_fail(err, MSIM_E_FORMAT,
                       "fvecs: %s: expected a count of 4 bytes, got a file of %zu", path, n_bytes);
    uint32_t dim = u32_at(bytes);
    int rc = check_dim(dim, "fvecs", 0, path, err);
    if (rc < 0) return rc;
    size_t row_bytes = 4 + 4 * (size_t)dim;
    if (n_bytes % row_bytes != 0)
        return ms_fail(err, MSIM_E_FORMAT,
                       "fvecs: %s: byte %zu: expected rows of %zu bytes each, got a last one of "
                       "%zu (is the file cut short?)",
                       path, n_bytes - n_bytes % row_bytes, row_bytes, n_bytes % row_bytes);
    view.rows.base = bytes + 4;
    view.rows.row_bytes = row_bytes;
    view.rows.n_rows = (int64_t)(n_bytes / row_bytes);
    view.rows.dim = dim;
    int64_t step = view.rows.n_rows / SAMPLES + 1;
    for (int64_t i = 0; rc >= 0 && i < view.rows.n_rows; i += step)
        rc = ms_fvecs_check_row(&view, i, path, err);
    if (rc >= 0) rc = ms_fvecs_check_row(&view, view.rows.n_rows - 1, path, err);
    if (rc >= 0) *out = view;
    return rc;
}

int ms_fbin_view_init(const unsigned char *bytes, size_t n_bytes, const char *path,
                      ms_npy_view *out, msim_error *err) {
    if (n_bytes < 8)
        return ms_fail(err, MSIM_E_FORMAT,
                       "fbin: %s: expected a head of 8 bytes, got a file of %zu", path, n_bytes);
    uint32_t n_rows = u32_at(bytes), dim = u32_at(bytes + 4);
    int rc = n_rows ? check_dim(dim, "fbin", 4, path, err) : MSIM_OK;
    if (rc < 0) return rc;
    uint64_t expected = 8 + 4 * (uint64_t)n_rows * dim; /* below 2^51: dim was checked */
    if (n_bytes != (n_rows ? expected : 8))
        return ms_fail(err, MSIM_E_FORMAT,
                       "fbin: %s: expected %" PRIu64 " bytes for %" PRIu32 " x %" PRIu32
                       " components, got %zu",
                       path, n_rows ? expected : 8, n_rows, dim, n_bytes);
    *out = (ms_npy_view){.format = MSIM_FORMAT_FBIN,
                         .rows = {.base = bytes + 8,
                                  .row_bytes = 4 * (size_t)dim,
                                  .n_rows = n_rows,
                                  .dim = dim,
                                  .dtype = MSIM_DTYPE_F32}};
    return MSIM_OK;
}
