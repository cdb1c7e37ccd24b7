/* An .npy file in memory: the header, structured and plain arrays, pickles. Every name and every
 * vector is read. */
#include "target.h"
#include "base/rows.h"
#include "npy/header.h"
#include "npy/view.h"

static volatile unsigned sum;

static void read_rows(const ms_npy_view *view) {
    const ms_rows *r = &view->rows;
    int64_t step = r->n_rows > 4096 ? r->n_rows / 4096 : 1;
    MUST(r->n_rows >= 0 && r->dim >= 0 && r->dim <= MS_NPY_DIM_MAX);
    for (int64_t i = 0; i < r->n_rows; i += step) {
        char name[64];
        size_t n = ms_npy_view_name(view, i, name, sizeof name);
        MUST(memchr(name, 0, sizeof name) != NULL);
        if (n < 1 << 20) {
            char *whole = block(n + 1, 1);
            MUST(ms_npy_view_name(view, i, whole, n + 1) == n && whole[n] == 0);
            free(whole);
        }
        float *row = block((size_t)r->dim, sizeof *row);
        ms_row_to_f32(row, ms_rows_at(r, i), (ptrdiff_t)ms_dtype_bytes(r->dtype), r->dtype,
                      (size_t)r->dim);
        for (int64_t j = 0; j < r->dim; j++) sum += ((unsigned char *)(row + j))[0];
        free(row);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    ms_npy_head head;
    ms_npy_view view;
    msim_error err = {.code = 0};
    int rc = ms_npy_head_parse(data, n_bytes, "a.npy", &head, &err);
    check_status(rc, &err);
    if (rc >= 0) {
        check_status(ms_npy_head_check_size(&head, n_bytes, "a.npy", &err), &err);
        ms_npy_head_free(&head);
    }
    rc = ms_npy_view_init(data, n_bytes, "a.npy", &view, &err);
    check_status(rc, &err);
    if (rc < 0) return 0;
    read_rows(&view);
    ms_npy_view_free(&view);
    return 0;
}
