/* The corpus writer: rows and names in one of five formats, through files that appear whole or not
 * at all (base/file.h). Buffers are allocated at open; add allocates nothing. Nothing of a refused
 * row is written, so another row may follow. After a failed write or sync, every call fails.
 * include/midisim.h, Writing a corpus; docs/FORMATS.md, What is written. */
#include "base/bf16.h"
#include "base/text/lines.h"
#include "base/mem.h"
#include "base/sized.h"
#include "base/rows.h"
#include "base/text/utf8.h"
#include "npy/header.h"
#include "npy/view.h"
#include "base/file.h"
#include "npy/pickled_write.h"
#include <inttypes.h>
#include <string.h>

enum { HEAD_CAP = 16384, FIELD_NAME_MAX = 200 };
#define NAME_CHARS_MAX 65536
#define NAME_LINE_MAX (4 * NAME_CHARS_MAX) /* bytes of a name in a names file */

struct msim_corpus_writer {
    ms_out_file rows, names; /* owned; names only in forms without their own */
    ms_pickle_writer pickle;
    size_t name_chars; /* structured */
    int64_t dim, n_rows, n_added;
    int dtype, format;
    bool is_finished;
};

int msim_format_has_dtype(int format, int dtype) {
    bool is_half = dtype == MSIM_DTYPE_F16 && format <= MSIM_FORMAT_PICKLED;
    return msim_format_name(format) && (dtype == MSIM_DTYPE_F32 || is_half ||
                                        (dtype == MSIM_DTYPE_BF16 && format == MSIM_FORMAT_PLAIN));
}

static bool has_names_file(int format) {
    return format != MSIM_FORMAT_STRUCTURED && format != MSIM_FORMAT_PICKLED;
}

static int check_field_name(const char *name, const char *what, msim_error *err) {
    size_t n = strlen(name);
    if (n < 1 || n > FIELD_NAME_MAX)
        return ms_fail(err, MSIM_E_ARG, "%s: expected 1..%d bytes, got %zu", what, FIELD_NAME_MAX,
                       n);
    for (size_t i = 0, step; i < n; i += step) {
        uint32_t point = ms_utf8_get_escaped(name + i, n - i, &step);
        if (point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0xdc80 && point <= 0xdcff))
            return ms_fail(err, MSIM_E_ARG, "%s: expected printable UTF-8, got byte 0x%02x", what,
                           (unsigned char)name[i]);
    }
    return MSIM_OK;
}

static int check_layout(const msim_corpus_layout *l, const char *name_field,
                        const char *vector_field, msim_error *err) {
    if (!msim_format_name(l->format))
        return ms_fail(err, MSIM_E_ARG, "corpus format: expected an msim_format, got %d",
                       l->format);
    if (l->rows < 0)
        return ms_fail(err, MSIM_E_ARG, "corpus rows: expected 0 or more, got %" PRId64, l->rows);
    int64_t rows_max = l->format == MSIM_FORMAT_PICKLED ? ms_pickle_rows_max()
                       : l->format == MSIM_FORMAT_FBIN  ? UINT32_MAX
                                                        : INT64_MAX;
    if (l->rows > rows_max)
        return ms_fail(err, MSIM_E_ARG,
                       "corpus rows: expected at most %" PRId64 " for %s, got %" PRId64, rows_max,
                       msim_format_name(l->format), l->rows);
    if (l->dim < 1 || l->dim > MS_NPY_DIM_MAX)
        return ms_fail(err, MSIM_E_ARG, "corpus width: expected 1..%d, got %" PRId64,
                       MS_NPY_DIM_MAX, l->dim);
    if (l->name_chars < 0 ||
        (l->format == MSIM_FORMAT_STRUCTURED && l->name_chars > NAME_CHARS_MAX))
        return ms_fail(err, MSIM_E_ARG, "corpus names: expected 0..%d characters, got %" PRId64,
                       NAME_CHARS_MAX, l->name_chars);
    if (!msim_format_has_dtype(l->format, l->dtype))
        return ms_fail(err, MSIM_E_UNSUPPORTED, "corpus type: expected %s for %s, got %s",
                       l->format == MSIM_FORMAT_PLAIN ? "f32, f16 or bf16"
                       : has_names_file(l->format)    ? "f32"
                                                      : "f32 or f16",
                       msim_format_name(l->format),
                       msim_dtype_name(l->dtype) ? msim_dtype_name(l->dtype) : "an unknown one");
    int rc = check_field_name(name_field, "name field", err);
    if (rc >= 0) rc = check_field_name(vector_field, "vector field", err);
    if (rc >= 0 && strcmp(name_field, vector_field) == 0)
        rc = ms_fail(
            err, MSIM_E_ARG,
            "fields: names and vectors need two different field names, but both are '%.100s'",
            name_field);
    return rc;
}

static void put_u32(unsigned char *dst, uint32_t value) {
    for (int i = 0; i < 4; i++) dst[i] = (unsigned char)(value >> 8 * i);
}

/* What stands before the first row. */
static int put_head(msim_corpus_writer *w, const char *name_field, const char *vector_field,
                    msim_error *err) {
    static const char *const types[] = {"<f4", "<f2", "|V2"};
    unsigned char *dst = ms_out_file_room(&w->rows);
    if (w->format == MSIM_FORMAT_FVECS) return MSIM_OK;
    if (w->format == MSIM_FORMAT_FBIN) {
        put_u32(dst, (uint32_t)w->n_rows);
        put_u32(dst + 4, (uint32_t)w->dim);
        return ms_out_file_took(&w->rows, 8, err);
    }
    int64_t n = ms_npy_head_write(dst, HEAD_CAP, w->format == MSIM_FORMAT_PLAIN ? NULL : name_field,
                                  w->name_chars, vector_field, types[w->dtype], (size_t)w->dim,
                                  (size_t)w->n_rows, err);
    if (n < 0) return (int)n;
    if (w->format == MSIM_FORMAT_PICKLED)
        n += (int64_t)ms_pickle_prefix(&w->pickle, dst + n, w->n_rows, w->dim,
                                       ms_dtype_bytes(w->dtype), name_field, vector_field);
    return ms_out_file_took(&w->rows, (size_t)n, err);
}

int msim_corpus_writer_open(const char *path, const msim_corpus_layout *wanted,
                            msim_corpus_writer **out, msim_error *err) {
    msim_corpus_layout own = {.size = sizeof own}, *layout = &own;
    *out = NULL;
    int rc = ms_sized_in(&own, sizeof own, wanted, "corpus layout", err);
    if (rc < 0) return rc;
    const char *name_field = layout->name_field ? layout->name_field : "midi_names";
    const char *vector_field = layout->vector_field ? layout->vector_field : "midi_embeddings";
    rc = check_layout(layout, name_field, vector_field, err);
    if (rc < 0) return rc;
    msim_corpus_writer *w = ms_alloc(1, sizeof *w, "corpus writer", err);
    if (!w) return -MSIM_E_MEMORY;
    w->rows.fd = w->names.fd = -1;
    w->dim = layout->dim;
    w->dtype = layout->dtype;
    w->format = layout->format;
    w->n_rows = layout->rows;
    if (w->format == MSIM_FORMAT_STRUCTURED)
        w->name_chars = layout->name_chars > 0 ? (size_t)layout->name_chars : 1;
    size_t beside = w->format == MSIM_FORMAT_PICKLED ? MS_PICKLE_ROW_MAX : 4 * w->name_chars + 4;
    size_t item_max = (size_t)w->dim * ms_dtype_bytes(w->dtype) + beside;
    if (item_max < HEAD_CAP + MS_PICKLE_EDGE_MAX) item_max = HEAD_CAP + MS_PICKLE_EDGE_MAX;
    rc = ms_out_file_open(&w->rows, path, "", item_max, err);
    if (rc >= 0 && has_names_file(w->format))
        rc = ms_out_file_open(&w->names, path, ".names", NAME_LINE_MAX + 1, err);
    if (rc >= 0) rc = put_head(w, name_field, vector_field, err);
    if (rc < 0) {
        msim_corpus_writer_close(w);
        return rc;
    }
    *out = w;
    return MSIM_OK;
}

/* ---- Rows ---- */

static int check_name(const msim_corpus_writer *w, const char *name, size_t name_bytes,
                      msim_error *err) {
    if (w->format == MSIM_FORMAT_STRUCTURED) {
        size_t chars = ms_utf8_chars(name, name_bytes);
        if (chars > w->name_chars)
            return ms_fail(err, MSIM_E_LIMIT,
                           "corpus name of row %" PRId64
                           ": expected at most %zu characters, got %zu",
                           w->n_added, w->name_chars, chars);
        return MSIM_OK;
    }
    bool is_pickled = w->format == MSIM_FORMAT_PICKLED;
    size_t n = is_pickled ? ms_pickle_name_bytes(name, name_bytes) : name_bytes;
    size_t n_max = is_pickled ? MS_PICKLE_NAME_MAX : NAME_LINE_MAX;
    if (n > n_max)
        return ms_fail(err, MSIM_E_LIMIT,
                       "corpus name of row %" PRId64 ": expected at most %zu bytes, got %zu",
                       w->n_added, n_max, n);
    if (is_pickled) return MSIM_OK;
    if (name_bytes && memchr(name, '\n', name_bytes))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus name of row %" PRId64
                       ": it has a newline, but %s has one line per name",
                       w->n_added, w->names.path);
    /* Readers of lists drop a byte order mark, and the CRs of all lines when the first has one. */
    if (w->n_added == 0 && name_bytes && name[name_bytes - 1] == '\r')
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus name of row 0: %s cannot begin with a name that ends in a carriage "
                       "return",
                       w->names.path);
    if (w->n_added == 0 && ms_lines_skip_bom(name, name_bytes))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus name of row 0: %s cannot begin with a byte order mark",
                       w->names.path);
    return MSIM_OK;
}

/* Refuse what would become infinite without having been. */
static int check_range(const msim_corpus_writer *w, const float *row, msim_error *err) {
    /* The least bits of a magnitude that rounds to infinity: 65520, and half a step over bf16's
     * largest number. */
    uint32_t least = w->dtype == MSIM_DTYPE_F16 ? 0x477ff000u : 0x7f7f8000u;
    if (w->dtype == MSIM_DTYPE_F32) return MSIM_OK;
    for (int64_t i = 0; i < w->dim; i++) {
        uint32_t magnitude = ms_f32_bits(row[i]) & 0x7fffffffu;
        if (magnitude < least || magnitude >= 0x7f800000u) continue;
        return ms_fail(
            err, MSIM_E_LIMIT,
            "corpus row %" PRId64 ": component %" PRId64 ": expected a value within %s, got %g",
            w->n_added, i, w->dtype == MSIM_DTYPE_F16 ? "f16's 65504" : "bf16's 3.3895e38",
            (double)row[i]);
    }
    return MSIM_OK;
}

static size_t put_vector(const msim_corpus_writer *w, const float *row, unsigned char *dst) {
    size_t n = (size_t)w->dim;
    if (w->dtype == MSIM_DTYPE_F32) {
        memcpy(dst, row, n * 4);
        return n * 4;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half = w->dtype == MSIM_DTYPE_F16 ? ms_f16_of_f32(row[i])
                                                   : ms_bf16_of_f32(row[i]).bits;
        memcpy(dst + 2 * i, &half, 2);
    }
    return n * 2;
}

int msim_corpus_writer_add(msim_corpus_writer *w, const char *name, size_t name_bytes,
                           const float *row, msim_error *err) {
    int rc = ms_out_file_failed(&w->rows, err);
    if (rc >= 0) rc = ms_out_file_failed(&w->names, err);
    if (rc < 0) return rc;
    if (w->n_added == w->n_rows || w->is_finished)
        return ms_fail(err, MSIM_E_LIMIT, "corpus: %s: all %" PRId64 " rows are added already",
                       w->rows.path, w->n_rows);
    rc = check_name(w, name, name_bytes, err);
    if (rc >= 0) rc = check_range(w, row, err);
    if (rc < 0) return rc;
    unsigned char *start = ms_out_file_room(&w->rows), *dst = start;
    if (w->format == MSIM_FORMAT_STRUCTURED) {
        ms_utf8_to_utf32(name, name_bytes, dst, w->name_chars);
        dst += 4 * w->name_chars;
    } else if (w->format == MSIM_FORMAT_PICKLED) {
        dst += ms_pickle_row_begin(&w->pickle, dst, w->n_added, name, name_bytes);
    } else if (w->format == MSIM_FORMAT_FVECS) {
        put_u32(dst, (uint32_t)w->dim);
        dst += 4;
    }
    dst += put_vector(w, row, dst);
    if (w->format == MSIM_FORMAT_PICKLED) dst += ms_pickle_row_end(&w->pickle, dst, w->n_added);
    w->n_added++;
    rc = ms_out_file_took(&w->rows, (size_t)(dst - start), err);
    if (rc < 0 || !has_names_file(w->format)) return rc;
    unsigned char *line = ms_out_file_room(&w->names);
    if (name_bytes) memcpy(line, name, name_bytes);
    line[name_bytes] = '\n';
    return ms_out_file_took(&w->names, name_bytes + 1, err);
}

/* ---- The end ---- */

int msim_corpus_writer_finish(msim_corpus_writer *w, msim_error *err) {
    int rc = ms_out_file_failed(&w->rows, err);
    if (rc >= 0) rc = ms_out_file_failed(&w->names, err);
    if (rc < 0) return rc;
    if (w->is_finished)
        return ms_fail(err, MSIM_E_ARG, "corpus: %s: the writer is finished already", w->rows.path);
    if (w->n_added != w->n_rows)
        return ms_fail(err, MSIM_E_ARG, "corpus: %s: expected %" PRId64 " rows, got %" PRId64,
                       w->rows.path, w->n_rows, w->n_added);
    if (w->format == MSIM_FORMAT_PICKLED)
        rc = ms_out_file_took(&w->rows, ms_pickle_end(&w->pickle, ms_out_file_room(&w->rows)), err);
    if (rc >= 0) rc = ms_out_file_sync(&w->rows, err);
    if (rc >= 0 && has_names_file(w->format)) rc = ms_out_file_sync(&w->names, err);
    /* The names come first: rows under their final name have their names beside them. */
    if (rc >= 0 && has_names_file(w->format)) rc = ms_out_file_rename(&w->names, err);
    if (rc >= 0) rc = ms_out_file_rename(&w->rows, err);
    w->is_finished = rc >= 0;
    return rc;
}

void msim_corpus_writer_close(msim_corpus_writer *w) {
    if (!w) return;
    ms_out_file_close(&w->rows);
    ms_out_file_close(&w->names);
    ms_free(w);
}

int64_t msim_name_chars(const char *name, size_t name_bytes) {
    return (int64_t)ms_utf8_chars(name, name_bytes);
}
