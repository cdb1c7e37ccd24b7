/* Writes pickles as NumPy 1.26 does: see npy/pickled_write.h. Python's pickler numbers the objects
 * that it may meet again, in the order in which it writes them, and writes an object that it has
 * met before as a reference. CPython holds "" and each text of one Latin-1 character only once, so
 * these are references from their second time on. All other texts count as distinct objects, as
 * they are in an array made of a list of names. test/cli/test_convert_forms.py compares with
 * NumPy. */
#include "npy/pickled_write.h"
#include "base/text/utf8.h"
#include <stdio.h>
#include <string.h>

enum { ROWS_A_GROUP = 1000 }; /* the pickler appends so many list items at once */

/* Opcodes of protocol 3. */
enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_INT1 = 'K',
    OP_INT2 = 'M',
    OP_INT4 = 'J',
    OP_NONE = 'N',
    OP_REDUCE = 'R',
    OP_BYTES = 'B',
    OP_SHORT_BYTES = 'C',
    OP_TEXT = 'X',
    OP_APPEND = 'a',
    OP_APPENDS = 'e',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_GET1 = 'h',
    OP_GET4 = 'j',
    OP_PUT1 = 'q',
    OP_PUT4 = 'r',
    OP_TUPLE = 't',
    OP_LIST = ']',
    OP_DICT = '}',
    OP_SET_ITEMS = 'u',
    OP_TRUE = 0x88,
    OP_FALSE = 0x89,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87
};

static unsigned char *put_op(unsigned char *p, int op) {
    *p = (unsigned char)op;
    return p + 1;
}

static unsigned char *put_le(unsigned char *p, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) p[i] = (unsigned char)(value >> 8 * i);
    return p + n_bytes;
}

/* An opcode with a value in one byte, or another with it in four. */
static unsigned char *put_sized(unsigned char *p, int op1, int op4, uint64_t value) {
    return value < 256 ? put_le(put_op(p, op1), value, 1) : put_le(put_op(p, op4), value, 4);
}

static unsigned char *put_int(unsigned char *p, int64_t value) {
    if (value >= 0 && value < 256) return put_le(put_op(p, OP_INT1), (uint64_t)value, 1);
    if (value >= 0 && value < 65536) return put_le(put_op(p, OP_INT2), (uint64_t)value, 2);
    return put_le(put_op(p, OP_INT4), (uint64_t)value, 4);
}

static unsigned char *put_get(unsigned char *p, uint64_t number) {
    return put_sized(p, OP_GET1, OP_GET4, number);
}
static unsigned char *put_memo(ms_pickle_writer *w, unsigned char *p) {
    return put_sized(p, OP_PUT1, OP_PUT4, w->memo++);
}

/* An opcode whose result is numbered. */
static unsigned char *put_made(ms_pickle_writer *w, unsigned char *p, int op) {
    return put_memo(w, put_op(p, op));
}

size_t ms_pickle_name_bytes(const char *name, size_t n_bytes) {
    size_t n = 0, step;
    char utf8[4];
    for (size_t i = 0; i < n_bytes; i += step)
        n += ms_utf8_put(utf8, ms_utf8_get_escaped(name + i, n_bytes - i, &step));
    return n;
}

/* A text, or a reference to it. *number (may be NULL): its memo number. */
static unsigned char *put_text(ms_pickle_writer *w, unsigned char *p, const char *text,
                               size_t n_bytes, uint64_t *number) {
    size_t step = 0;
    uint32_t only = n_bytes ? ms_utf8_get_escaped(text, n_bytes, &step) : 256;
    uint64_t *held = step == n_bytes && only <= (n_bytes ? 255 : 256) ? &w->one_char[only] : NULL;
    if (number) *number = held && *held ? *held - 1 : w->memo;
    if (held && *held) return put_get(p, *held - 1);
    if (held) *held = w->memo + 1;
    unsigned char *length = put_op(p, OP_TEXT), *start = put_le(length, 0, 4);
    p = start;
    for (size_t i = 0; i < n_bytes; i += step)
        p += ms_utf8_put((char *)p, ms_utf8_get_escaped(text + i, n_bytes - i, &step));
    put_le(length, (uint64_t)(p - start), 4);
    return put_memo(w, p);
}

static unsigned char *put_literal(ms_pickle_writer *w, unsigned char *p, const char *text) {
    return put_text(w, p, text, strlen(text), NULL);
}

static unsigned char *put_global(ms_pickle_writer *w, unsigned char *p,
                                 const char *module_and_name) {
    size_t n = strlen(module_and_name);
    memcpy(put_op(p, OP_GLOBAL), module_and_name, n);
    return put_memo(w, p + 1 + n);
}

/* dtype(code, False, True), then the head of its state: (3, order. *number: of the dtype. */
static unsigned char *put_dtype(ms_pickle_writer *w, unsigned char *p, const char *code,
                                const char *order, uint64_t *number) {
    p = put_literal(w, p, code);
    p = put_made(w, put_op(put_op(p, OP_FALSE), OP_TRUE), OP_TUPLE3);
    if (number) *number = w->memo;
    p = put_made(w, p, OP_REDUCE);
    return put_literal(w, put_int(put_op(p, OP_MARK), 3), order);
}

/* The end of a dtype's state: size, alignment, flags), and its use. */
static unsigned char *put_dtype_end(ms_pickle_writer *w, unsigned char *p, int64_t size,
                                    int64_t alignment, int64_t flags) {
    p = put_int(put_int(put_int(p, size), alignment), flags);
    return put_op(put_made(w, p, OP_TUPLE), OP_BUILD);
}

int64_t ms_pickle_rows_max(void) { return ((int64_t)UINT32_MAX - 64) / 8; }

/* dtype([(name_field, 'O'), (vector_field, 'f4', (dim,))]) with the dtype class at memo number
 * `dtype`. */
static unsigned char *put_record_dtype(ms_pickle_writer *w, unsigned char *p, uint64_t dtype,
                                       const char *name_field, const char *vector_field) {
    char code[40];
    int64_t vector_bytes = w->dim * (int64_t)w->elem_bytes;
    uint64_t name_key, vector_key;
    snprintf(code, sizeof code, "V%lld", (long long)(8 + vector_bytes));
    p = put_op(put_dtype(w, p, code, "|", NULL), OP_NONE);
    p = put_text(w, p, name_field, strlen(name_field), &name_key);
    p = put_text(w, p, vector_field, strlen(vector_field), &vector_key);
    p = put_op(put_made(w, put_made(w, p, OP_TUPLE2), OP_DICT), OP_MARK);
    /* The names: objects, at byte 0. */
    p = put_dtype(w, put_get(put_get(p, name_key), dtype), "O8", "|", NULL);
    p = put_op(put_op(put_op(p, OP_NONE), OP_NONE), OP_NONE);
    p = put_made(w, put_int(put_dtype_end(w, p, -1, -1, 63), 0), OP_TUPLE2);
    /* The vectors: a sub-array, at byte 8. */
    snprintf(code, sizeof code, "V%lld", (long long)vector_bytes);
    p = put_dtype(w, put_get(put_get(p, vector_key), dtype), code, "|", NULL);
    snprintf(code, sizeof code, "f%zu", w->elem_bytes);
    p = put_dtype(w, put_get(p, dtype), code, "<", &w->element);
    p = put_op(put_op(put_op(p, OP_NONE), OP_NONE), OP_NONE);
    p = put_dtype_end(w, p, -1, -1, 0);
    p = put_made(w, put_made(w, put_int(p, w->dim), OP_TUPLE1), OP_TUPLE2);
    p = put_dtype_end(w, put_op(put_op(p, OP_NONE), OP_NONE), vector_bytes, (int64_t)w->elem_bytes,
                      0);
    p = put_made(w, put_int(p, 8), OP_TUPLE2);
    return put_dtype_end(w, put_op(p, OP_SET_ITEMS), 8 + vector_bytes, 1, 27);
}

size_t ms_pickle_prefix(ms_pickle_writer *w, unsigned char *dst, int64_t n_rows, int64_t dim,
                        size_t elem_bytes, const char *name_field, const char *vector_field) {
    *w = (ms_pickle_writer){.n_rows = n_rows, .dim = dim, .elem_bytes = elem_bytes};
    unsigned char *p = put_le(put_op(dst, 0x80), 3, 1);
    p = put_global(w, p, "numpy.core.multiarray\n_reconstruct\n");
    p = put_global(w, p, "numpy\nndarray\n");
    p = put_made(w, put_int(p, 0), OP_TUPLE1);
    p = put_op(put_le(put_op(p, OP_SHORT_BYTES), 1, 1), 'b');
    p = put_made(w, put_made(w, put_memo(w, p), OP_TUPLE3), OP_REDUCE);
    p = put_made(w, put_int(put_int(put_op(p, OP_MARK), 1), n_rows), OP_TUPLE1);
    uint64_t dtype = w->memo;
    p = put_global(w, p, "numpy\ndtype\n");
    p = put_record_dtype(w, p, dtype, name_field, vector_field);
    return (size_t)(put_made(w, put_op(p, OP_FALSE), OP_LIST) - dst);
}

size_t ms_pickle_row_begin(ms_pickle_writer *w, unsigned char *dst, int64_t row, const char *name,
                           size_t name_bytes) {
    unsigned char *p = dst;
    size_t vector_bytes = (size_t)w->dim * w->elem_bytes;
    if (w->n_rows > 1 && row % ROWS_A_GROUP == 0) p = put_op(p, OP_MARK);
    p = put_text(w, p, name, name_bytes, NULL);
    /* _reconstruct(ndarray, (0,), b"b"): numbers 0, 1 and 3 of the prefix. */
    p = put_made(w, put_int(put_get(put_get(p, 0), 1), 0), OP_TUPLE1);
    p = put_made(w, put_made(w, put_get(p, 3), OP_TUPLE3), OP_REDUCE);
    p = put_made(w, put_int(put_int(put_op(p, OP_MARK), 1), w->dim), OP_TUPLE1);
    p = put_sized(put_op(put_get(p, w->element), OP_FALSE), OP_SHORT_BYTES, OP_BYTES, vector_bytes);
    return (size_t)(p - dst);
}

size_t ms_pickle_row_end(ms_pickle_writer *w, unsigned char *dst, int64_t row) {
    unsigned char *p = put_made(w, put_memo(w, dst), OP_TUPLE);
    p = put_made(w, put_op(p, OP_BUILD), OP_TUPLE2);
    if (w->n_rows == 1)
        p = put_op(p, OP_APPEND);
    else if (row == w->n_rows - 1 || row % ROWS_A_GROUP == ROWS_A_GROUP - 1)
        p = put_op(p, OP_APPENDS);
    return (size_t)(p - dst);
}

size_t ms_pickle_end(ms_pickle_writer *w, unsigned char *dst) {
    return (size_t)(put_op(put_op(put_made(w, dst, OP_TUPLE), OP_BUILD), OP_STOP) - dst);
}
