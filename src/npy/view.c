/* Views of .npy files: see npy/view.h. This file decides which field holds the names and which the
 * vectors. What is not a corpus is refused with its reason: big-endian or column-major data, other
 * types. docs/FORMATS.md, Corpora. */
#include "npy/view.h"
#include "base/mem.h"
#include "base/text/utf8.h"
#include "npy/header.h"
#include "npy/pickled.h"
#include <string.h>

#define NAME_FIELD "midi_names"
#define VECTOR_FIELD "midi_embeddings"

/* The msim_dtype of a field's elements, or -1. NumPy has no bf16: that V2 means it is a convention
 * of ml_dtypes, which adds the type to NumPy. */
static int dtype_of(const ms_npy_field *f) {
    if (f->kind == 'f' && f->elem_bytes == 4) return MSIM_DTYPE_F32;
    if (f->kind == 'f' && f->elem_bytes == 2) return MSIM_DTYPE_F16;
    if (f->kind == 'f' && f->elem_bytes == 8) return MSIM_DTYPE_F64;
    return f->kind == 'V' && f->elem_bytes == 2 ? MSIM_DTYPE_BF16 : -1;
}

static bool is_vector(const ms_npy_field *f) {
    return *f->name && f->n_axes == 1 && dtype_of(f) >= 0;
}
static bool is_name(const ms_npy_field *f) {
    return *f->name && f->n_axes == 0 && (f->kind == 'U' || f->kind == 'S');
}

/* The field that fits: the one with the usual name, else the only one. *out NULL when there is
 * none. */
static int find_field(const ms_npy_head *head, bool (*fits)(const ms_npy_field *),
                      const char *usual, const char *what, const char *path,
                      const ms_npy_field **out, msim_error *err) {
    const ms_npy_field *found = NULL, *second = NULL;
    for (size_t i = 0; i < head->n_fields; i++) {
        const ms_npy_field *f = &head->fields[i];
        if (!fits(f)) continue;
        if (strcmp(f->name, usual) == 0) {
            *out = f;
            return MSIM_OK;
        }
        if (!found)
            found = f;
        else if (!second)
            second = f;
    }
    if (second)
        return ms_fail(
            err, MSIM_E_UNSUPPORTED,
            "corpus: %s: expected one field of %s or one called '%s', got '%.80s' and '%.80s'",
            path, what, usual, found->name, second->name);
    *out = found;
    return MSIM_OK;
}

static int check_order(const ms_npy_field *f, const char *path, msim_error *err) {
    if (f->order != '>') return MSIM_OK;
    return ms_fail(
        err, MSIM_E_UNSUPPORTED,
        "corpus: %s: expected little-endian data, got big-endian '>%c%zu' (convert it with "
        "a.astype(a.dtype.newbyteorder('<')))",
        path, f->kind, f->kind == 'U' ? f->elem_bytes / 4 : f->elem_bytes);
}

static int check_dim(size_t dim, size_t n_rows, const char *path, msim_error *err) {
    if (dim > MS_NPY_DIM_MAX || (dim == 0 && n_rows > 0))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus: %s: expected rows of 1..%d components, got %zu", path,
                       MS_NPY_DIM_MAX, dim);
    return MSIM_OK;
}

/* The last axis is components; of the others at most one is longer than 1, and is rows. So one
 * vector (dim,) is one row, and (n, 1, dim) is what a model's output often looks like. */
static int find_axes(const ms_npy_head *head, const char *path, size_t *n_rows, size_t *dim,
                     msim_error *err) {
    int n_long = 0;
    *n_rows = 1;
    *dim = 0;
    for (int i = 0; i + 1 < head->n_axes; i++) {
        if (head->shape[i] != 1) *n_rows = head->shape[i];
        n_long += head->shape[i] != 1;
    }
    if (head->n_axes < 1 || n_long > 1)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus: %s: the array has %d axes; rows are an array of 2 axes (rows, "
                       "components)",
                       path, head->n_axes);
    *dim = head->shape[head->n_axes - 1];
    return MSIM_OK;
}

static int view_plain(const ms_npy_head *head, const unsigned char *bytes, const char *path,
                      ms_npy_view *view, msim_error *err) {
    const ms_npy_field *f = &head->fields[0];
    int dtype = dtype_of(f);
    if (dtype < 0)
        return ms_fail(
            err, MSIM_E_UNSUPPORTED,
            "corpus: %s: expected elements of type f4, f2, f8 or V2 (bf16), got '%c%c%zu'", path,
            f->order, f->kind, f->kind == 'U' ? f->elem_bytes / 4 : f->elem_bytes);
    size_t n_rows, dim;
    int rc = find_axes(head, path, &n_rows, &dim, err);
    if (rc >= 0) rc = check_order(f, path, err);
    if (rc >= 0) rc = check_dim(dim, n_rows, path, err);
    if (rc < 0) return rc;
    if (head->fortran_order && n_rows > 1 && dim > 1)
        return ms_fail(
            err, MSIM_E_UNSUPPORTED,
            "corpus: %s: the data are column-major, not row-major; save numpy.ascontiguousarray(a)",
            path);
    view->format = MSIM_FORMAT_PLAIN;
    view->rows = (ms_rows){.base = bytes + head->data_offset,
                           .row_bytes = dim * f->elem_bytes,
                           .n_rows = (int64_t)n_rows,
                           .dim = (int64_t)dim,
                           .dtype = dtype};
    return MSIM_OK;
}

static int view_record(const ms_npy_head *head, const unsigned char *bytes, const char *path,
                       ms_npy_view *view, msim_error *err) {
    const ms_npy_field *vector = NULL, *name = NULL;
    if (head->n_axes != 1)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "corpus: %s: expected records along 1 axis, got %d",
                       path, head->n_axes);
    int rc = find_field(head, is_vector, VECTOR_FIELD, "vectors", path, &vector, err);
    if (rc >= 0) rc = find_field(head, is_name, NAME_FIELD, "names", path, &name, err);
    if (rc < 0) return rc;
    if (!vector)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus: %s: no field holds vectors of f4, f2, f8 or V2 (bf16)", path);
    size_t n_rows = head->shape[0];
    rc = check_order(vector, path, err);
    if (rc >= 0 && name) rc = check_order(name, path, err);
    if (rc >= 0) rc = check_dim(vector->n_elems, n_rows, path, err);
    if (rc < 0) return rc;
    const unsigned char *data = bytes + head->data_offset;
    view->format = MSIM_FORMAT_STRUCTURED;
    view->rows = (ms_rows){.base = data + vector->offset,
                           .row_bytes = head->item_bytes,
                           .n_rows = (int64_t)n_rows,
                           .dim = (int64_t)vector->n_elems,
                           .dtype = dtype_of(vector)};
    if (name) {
        view->name_kind = name->kind;
        view->name_base = data + name->offset;
        view->name_width = name->kind == 'U' ? name->elem_bytes / 4 : name->elem_bytes;
    }
    return MSIM_OK;
}

int ms_npy_view_init(const unsigned char *bytes, size_t n_bytes, const char *path, ms_npy_view *out,
                     msim_error *err) {
    ms_npy_head head;
    ms_npy_view view;
    memset(&view, 0, sizeof view);
    int rc = ms_npy_head_parse(bytes, n_bytes, path, &head, err);
    if (rc < 0) return rc;
    if (head.has_objects) {
        rc = ms_npy_pickle_view(&head, bytes, n_bytes, path, &view, err);
    } else {
        rc = ms_npy_head_check_size(&head, n_bytes, path, err);
        if (rc >= 0)
            rc = head.is_record ? view_record(&head, bytes, path, &view, err)
                                : view_plain(&head, bytes, path, &view, err);
    }
    ms_npy_head_free(&head);
    if (rc >= 0) *out = view;
    return rc;
}

void ms_npy_view_free(ms_npy_view *view) {
    ms_free(view->offsets);
    ms_free(view->names);
    memset(view, 0, sizeof *view);
}

size_t ms_npy_view_name(const ms_npy_view *view, int64_t row, char *buf, size_t cap) {
    if (!view->name_kind) return ms_utf8_of_bytes(NULL, 0, buf, cap);
    if (view->name_kind == 'O')
        return ms_utf8_of_text(view->name_base + ms_npy_name_at(view->names[row]),
                               ms_npy_name_bytes(view->names[row]), buf, cap);
    const unsigned char *field = view->name_base + (size_t)row * view->rows.row_bytes;
    return view->name_kind == 'U' ? ms_utf8_of_utf32(field, view->name_width, buf, cap)
                                  : ms_utf8_of_bytes(field, view->name_width, buf, cap);
}
