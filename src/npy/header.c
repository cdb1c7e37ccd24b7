/* .npy headers: see npy/header.h. One cursor walks over the text. The first failure stops it and
 * names the byte in the file. Nesting is bounded, so a header full of brackets cannot exhaust the
 * stack. docs/FORMATS.md, Corpora. */
#include "npy/header.h"
#include "base/mem.h"
#include "base/text/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NEST_MAX = 8, FIELDS_MAX = 1024 };

typedef struct {
    const unsigned char *p, *end, *file; /* borrowed; file: byte 0 of the file, for offsets in
                                          * errors */
    const char *path;
    bool is_utf8; /* version 3; before that the text is Latin-1 */
    int depth;
    msim_error *err;
} cursor;

static int bad(cursor *c, const char *expected) {
    size_t at = (size_t)(c->p - c->file);
    if (c->p >= c->end)
        return ms_fail(c->err, MSIM_E_FORMAT,
                       "npy header: %s: byte %zu: expected %s, got the end of the header", c->path,
                       at, expected);
    return ms_fail(c->err, MSIM_E_FORMAT,
                   "npy header: %s: byte %zu: expected %s, got '%c' (0x%02x)", c->path, at,
                   expected, *c->p < 0x7f ? *c->p : '?', *c->p);
}

static void skip_space(cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || (*c->p >= '\t' && *c->p <= '\r'))) c->p++;
}

/* The next token is this character: take it. */
static bool take(cursor *c, char ch) {
    skip_space(c);
    if (c->p >= c->end || *c->p != (unsigned char)ch) return false;
    c->p++;
    return true;
}

static int expect(cursor *c, char ch, const char *expected) {
    return take(c, ch) ? MSIM_OK : bad(c, expected);
}

static bool take_word(cursor *c, const char *word) {
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return false;
    c->p += n;
    return true;
}

static int hex_digit(unsigned char ch) {
    if (ch >= '0' && ch <= '9') return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* The code point behind a backslash; the cursor stands on the character after it. */
static int parse_escape(cursor *c, uint32_t *out) {
    static const char letters[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    if (c->p >= c->end) return bad(c, "an escape");
    const char *known = *c->p ? strchr(letters, *c->p) : NULL;
    if (known) {
        *out = (unsigned char)values[known - letters];
        c->p++;
        return MSIM_OK;
    }
    uint32_t value = 0;
    if (*c->p >= '0' && *c->p <= '7') {
        for (int i = 0; i < 3 && c->p < c->end && *c->p >= '0' && *c->p <= '7'; i++)
            value = value * 8 + (*c->p++ - '0');
    } else {
        int digits = *c->p == 'x' ? 2 : *c->p == 'u' ? 4 : *c->p == 'U' ? 8 : 0;
        if (!digits) return bad(c, "an escape of Python's");
        c->p++;
        for (int i = 0; i < digits; i++) {
            int d = c->p < c->end ? hex_digit(*c->p) : -1;
            if (d < 0) return bad(c, "a hexadecimal digit");
            value = value * 16 + (uint32_t)d;
            c->p++;
        }
    }
    if (value == 0 || value > 0x10ffff) {
        c->p--;
        return bad(c, "an escape for a character other than NUL");
    }
    *out = value;
    return MSIM_OK;
}

/* A quoted string as UTF-8, NUL-terminated, into buf [MS_NPY_NAME_CAP]. */
static int parse_string(cursor *c, char *buf) {
    size_t n = 0;
    skip_space(c);
    if (c->p >= c->end || (*c->p != '\'' && *c->p != '"')) return bad(c, "a quoted string");
    unsigned char quote = *c->p++;
    for (;;) {
        if (c->p >= c->end) return bad(c, "a closing quote");
        unsigned char ch = *c->p++;
        if (ch == quote) break;
        if (ch == 0 || ch == '\n') {
            c->p--;
            return bad(c, "a closing quote");
        }
        uint32_t point = ch;
        if (ch == '\\') {
            int rc = parse_escape(c, &point);
            if (rc < 0) return rc;
        }
        if (n + 5 > MS_NPY_NAME_CAP) return bad(c, "a name of at most 250 bytes");
        if (ch >= 0x80 && c->is_utf8)
            buf[n++] = (char)ch; /* already UTF-8; only compared and printed */
        else
            n += ms_utf8_put(buf + n, point);
    }
    buf[n] = 0;
    return MSIM_OK;
}

/* A non-negative integer, with the L that Python 2 wrote. */
static int parse_size(cursor *c, size_t *out) {
    size_t value = 0;
    skip_space(c);
    if (c->p >= c->end || *c->p < '0' || *c->p > '9') return bad(c, "a non-negative integer");
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
        if (!ms_mul_size(value, 10, &value) || !ms_add_size(value, *c->p - '0', &value) ||
            value > INT64_MAX)
            return bad(c, "an integer below 2^63");
    if (c->p < c->end && *c->p == 'L') c->p++;
    *out = value;
    return MSIM_OK;
}

/* (), (n,), (n, m) ...: shape [MS_NPY_AXES_MAX]. */
static int parse_shape(cursor *c, size_t *shape, int *n_axes) {
    int n = 0, rc = expect(c, '(', "a tuple of integers");
    if (rc < 0) return rc;
    while (!take(c, ')')) {
        if (n == MS_NPY_AXES_MAX) return bad(c, "at most 32 axes");
        if ((rc = parse_size(c, &shape[n++])) < 0) return rc;
        if (take(c, ',')) continue;
        if (n == 1) return bad(c, "',' (a tuple of one has a comma)");
        if ((rc = expect(c, ')', "',' or ')'")) < 0) return rc;
        break;
    }
    *n_axes = n;
    return MSIM_OK;
}

/* The parts of a type string such as '<f4', '|V2', '<U36', '<M8[ns]' or '|O'. */
static int parse_type(const char *text, cursor *c, ms_npy_field *field) {
    const char *p = text;
    field->order = '<';
    if (*p && strchr("<>|=", *p)) {
        if (*p != '=') field->order = *p;
        p++;
    }
    field->kind = *p == 'a' ? 'S' : *p == '?' ? 'b' : *p;
    if (!*p || !strchr("fUSVOiubcMm", field->kind)) goto unknown;
    bool has_size = *p++ == '?';
    size_t size = has_size ? 1 : 0;
    for (; *p >= '0' && *p <= '9'; p++, has_size = true)
        if (!ms_mul_size(size, 10, &size) || !ms_add_size(size, (size_t)(*p - '0'), &size))
            goto unknown;
    if (*p == '[' && (field->kind == 'M' || field->kind == 'm'))
        p += strlen(p) - (p[strlen(p) - 1] != ']');
    if (*p || (!has_size && field->kind != 'O') || size > INT64_MAX / 4) goto unknown;
    if (!strchr("USVO", field->kind) && (size == 0 || size > 32)) goto unknown;
    field->elem_bytes = field->kind == 'U' ? size * 4 : field->kind == 'O' ? 8 : size;
    return MSIM_OK;
unknown:
    return ms_fail(c->err, MSIM_E_FORMAT,
                   "npy header: %s: expected a NumPy type such as '<f4', got '%.100s'", c->path,
                   text);
}

static int parse_record(cursor *c, ms_npy_head *head, size_t *record_bytes, bool keep);

/* What follows a field's name: its type, and the shape of a sub-array if there is one. */
static int parse_field_type(cursor *c, ms_npy_head *head, ms_npy_field *field) {
    char text[MS_NPY_NAME_CAP];
    size_t shape[MS_NPY_AXES_MAX];
    int rc;
    skip_space(c);
    if (c->p < c->end && *c->p == '[') {
        field->kind = 'r';
        field->order = '|';
        rc = parse_record(c, head, &field->elem_bytes, false);
    } else {
        rc = parse_string(c, text);
        if (rc >= 0) rc = parse_type(text, c, field);
    }
    if (rc < 0) return rc;
    if (field->kind == 'O') head->has_objects = true;
    field->n_elems = 1;
    if (!take(c, ',')) return MSIM_OK;
    skip_space(c);
    if (c->p < c->end && *c->p == ')') return MSIM_OK;
    if (c->p < c->end && *c->p >= '0' && *c->p <= '9') {
        rc = parse_size(c, &shape[0]); /* an integer instead of a tuple, as very old files have
                                        * it */
        field->n_axes = 1;
    } else {
        rc = parse_shape(c, shape, &field->n_axes);
    }
    for (int i = 0; rc >= 0 && i < field->n_axes; i++)
        if (!ms_mul_size(field->n_elems, shape[i], &field->n_elems))
            rc = ms_fail(c->err, MSIM_E_FORMAT,
                         "npy header: %s: the sub-array of a field does not fit in memory",
                         c->path);
    if (rc >= 0) (void)take(c, ',');
    return rc;
}

/* One (name, type[, shape]) of a record; name may be a pair (title, name). */
static int parse_field(cursor *c, ms_npy_head *head, ms_npy_field *field) {
    int rc = expect(c, '(', "'(' before a field");
    if (rc < 0) return rc;
    if (take(c, '(')) {
        if ((rc = parse_string(c, field->name)) < 0) return rc; /* the title */
        if ((rc = expect(c, ',', "',' after a field's title")) < 0) return rc;
        if ((rc = parse_string(c, field->name)) < 0) return rc;
        rc = expect(c, ')', "')' after a field's name");
    } else {
        rc = parse_string(c, field->name);
    }
    if (rc >= 0) rc = expect(c, ',', "',' after a field's name");
    if (rc >= 0) rc = parse_field_type(c, head, field);
    if (rc >= 0) rc = expect(c, ')', "')' after a field");
    return rc;
}

static int keep_field(cursor *c, ms_npy_head *head, const ms_npy_field *field) {
    for (size_t i = 0; i < head->n_fields && *field->name; i++)
        if (strcmp(head->fields[i].name, field->name) == 0)
            return ms_fail(c->err, MSIM_E_FORMAT, "npy header: %s: the field '%.80s' appears twice",
                           c->path, field->name);
    if (head->n_fields == FIELDS_MAX) return bad(c, "at most 1024 fields");
    int rc = ms_grow((void **)&head->fields, &head->field_cap, head->n_fields + 1, sizeof *field,
                     "npy fields", c->err);
    if (rc >= 0) head->fields[head->n_fields++] = *field;
    return rc;
}

/* A list of fields. keep: they are the file's own; else those of a nested record, of which only the
 * size counts. */
static int parse_record(cursor *c, ms_npy_head *head, size_t *record_bytes, bool keep) {
    size_t total = 0, field_bytes;
    int rc = expect(c, '[', "a list of fields");
    if (rc >= 0 && ++c->depth > NEST_MAX) rc = bad(c, "at most 8 nested records");
    while (rc >= 0 && !take(c, ']')) {
        ms_npy_field field;
        memset(&field, 0, sizeof field);
        rc = parse_field(c, head, &field);
        field.offset = total;
        if (rc >= 0 && (!ms_mul_size(field.elem_bytes, field.n_elems, &field_bytes) ||
                        !ms_add_size(total, field_bytes, &total) || total > INT64_MAX))
            rc = ms_fail(c->err, MSIM_E_FORMAT, "npy header: %s: a record does not fit in memory",
                         c->path);
        if (rc >= 0 && keep) rc = keep_field(c, head, &field);
        if (rc < 0 || take(c, ',')) continue;
        rc = expect(c, ']', "',' or ']' after a field");
        break;
    }
    c->depth--;
    *record_bytes = total;
    return rc;
}

static int parse_descr(cursor *c, ms_npy_head *head) {
    char text[MS_NPY_NAME_CAP];
    skip_space(c);
    if (c->p < c->end && *c->p == '[') {
        head->is_record = true;
        return parse_record(c, head, &head->item_bytes, true);
    }
    ms_npy_field field;
    memset(&field, 0, sizeof field);
    field.n_elems = 1;
    int rc = parse_string(c, text);
    if (rc >= 0) rc = parse_type(text, c, &field);
    if (rc < 0) return rc;
    head->has_objects = field.kind == 'O';
    head->item_bytes = field.elem_bytes;
    return keep_field(c, head, &field);
}

static int parse_bool(cursor *c, bool *out) {
    *out = take_word(c, "True");
    return *out || take_word(c, "False") ? MSIM_OK : bad(c, "True or False");
}

/* The whole dict: exactly the three keys, each once, in any order. */
static int parse_dict(cursor *c, ms_npy_head *head) {
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    char key[MS_NPY_NAME_CAP];
    unsigned seen = 0;
    int rc = expect(c, '{', "'{'");
    while (rc >= 0 && !take(c, '}')) {
        int which = -1;
        const unsigned char *at = c->p;
        if ((rc = parse_string(c, key)) < 0) break;
        for (int i = 0; i < 3; i++)
            if (strcmp(key, keys[i]) == 0) which = i;
        if (which < 0 || seen & 1u << which) {
            c->p = at;
            skip_space(c);
            return bad(c, "'descr', 'fortran_order' and 'shape', each once");
        }
        seen |= 1u << which;
        if ((rc = expect(c, ':', "':'")) < 0) break;
        rc = which == 0   ? parse_descr(c, head)
             : which == 1 ? parse_bool(c, &head->fortran_order)
                          : parse_shape(c, head->shape, &head->n_axes);
        if (rc < 0 || take(c, ',')) continue;
        rc = expect(c, '}', "',' or '}'");
        break;
    }
    if (rc < 0) return rc;
    skip_space(c);
    if (c->p < c->end) return bad(c, "blanks up to the end of the header");
    if (seen != 7) return bad(c, "'descr', 'fortran_order' and 'shape'");
    return MSIM_OK;
}

int ms_npy_head_parse(const unsigned char *bytes, size_t n_bytes, const char *path,
                      ms_npy_head *out, msim_error *err) {
    ms_npy_head head;
    memset(&head, 0, sizeof head);
    if (n_bytes >= 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "npy header: %s: byte 0: expected a .npy file, got a raw pickle of protocol "
                       "%d (load it where it "
                       "is trusted, and write the array with numpy.save)",
                       path, bytes[1]);
    if (n_bytes < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return ms_fail(err, MSIM_E_FORMAT, "npy header: %s: byte 0: expected a .npy file, got %s",
                       path, n_bytes == 0 ? "an empty file" : "something else");
    int major = bytes[6];
    size_t start = major == 1 ? 10 : 12, n_text = bytes[8] | (size_t)bytes[9] << 8;
    if (major < 1 || major > 3 || bytes[7] != 0)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "npy header: %s: byte 6: expected version 1.0, 2.0 or 3.0, got %d.%d", path,
                       major, bytes[7]);
    if (n_bytes < start)
        return ms_fail(err, MSIM_E_FORMAT, "npy header: %s: expected 12 bytes, got %zu", path,
                       n_bytes);
    if (major > 1) n_text |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (n_text > MS_NPY_TEXT_MAX)
        return ms_fail(err, MSIM_E_LIMIT,
                       "npy header: %s: byte 8: expected at most %d bytes of text, got %zu", path,
                       MS_NPY_TEXT_MAX, n_text);
    if (n_text > n_bytes - start)
        return ms_fail(err, MSIM_E_FORMAT,
                       "npy header: %s: byte %zu: expected %zu bytes of text, got %zu", path, start,
                       n_text, n_bytes - start);
    cursor c = {.p = bytes + start,
                .end = bytes + start + n_text,
                .file = bytes,
                .path = path,
                .is_utf8 = major == 3,
                .err = err};
    int rc = parse_dict(&c, &head);
    if (rc < 0) {
        ms_npy_head_free(&head);
        return rc;
    }
    head.major = major;
    head.data_offset = start + n_text;
    *out = head;
    return MSIM_OK;
}

void ms_npy_head_free(ms_npy_head *head) {
    ms_free(head->fields);
    head->fields = NULL;
    head->n_fields = head->field_cap = 0;
}

int ms_npy_head_check_size(const ms_npy_head *head, size_t n_bytes, const char *path,
                           msim_error *err) {
    size_t total = head->item_bytes;
    bool fits = true;
    for (int i = 0; i < head->n_axes; i++)
        fits = fits && ms_mul_size(total, head->shape[i], &total);
    fits = fits && ms_add_size(total, head->data_offset, &total);
    if (!fits)
        return ms_fail(err, MSIM_E_FORMAT, "npy data: %s: the shape has 2^64 bytes or more", path);
    if (n_bytes < total)
        return ms_fail(
            err, MSIM_E_FORMAT,
            "npy data: %s: expected %zu bytes in the file, got %zu (is the file cut short?)", path,
            total, n_bytes);
    return MSIM_OK;
}

/* ---- Writing ---- */

typedef struct {
    char *p, *end; /* end is one past the last byte that may be written */
    bool is_full;
} text_out;

static void put_text(text_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put_text(text_out *out, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(out->p, (size_t)(out->end - out->p), format, ap);
    va_end(ap);
    if (n < 0 || n >= out->end - out->p)
        out->is_full = true;
    else
        out->p += n;
}

/* A name as Python's repr spells it. What is not printable ASCII becomes an escape: any reader then
 * has plain ASCII. */
static void put_repr(text_out *out, const char *name) {
    char quote = strchr(name, '\'') && !strchr(name, '"') ? '"' : '\'';
    put_text(out, "%c", quote);
    for (size_t i = 0, n = strlen(name), step; i < n; i += step) {
        uint32_t point = ms_utf8_get_escaped(name + i, n - i, &step);
        if (point == (unsigned char)quote || point == '\\')
            put_text(out, "\\%c", (char)point);
        else if (point >= 0x20 && point < 0x7f)
            put_text(out, "%c", (char)point);
        else
            put_text(out,
                     point < 0x100     ? "\\x%02x"
                     : point < 0x10000 ? "\\u%04x"
                                       : "\\U%08x",
                     (unsigned)point);
    }
    put_text(out, "%c", quote);
}

int64_t ms_npy_head_write(unsigned char *buf, size_t cap, const char *name_field, size_t name_chars,
                          const char *vector_field, const char *vector_type, size_t dim,
                          size_t n_rows, msim_error *err) {
    char number[32];
    if (cap < 128)
        return ms_fail(err, MSIM_E_LIMIT, "npy header: expected room for 128 bytes, got %zu", cap);
    text_out out = {.p = (char *)buf + 10, .end = (char *)buf + cap};
    put_text(&out, "{'descr': ");
    if (name_field) {
        put_text(&out, "[(");
        put_repr(&out, name_field);
        if (name_chars)
            put_text(&out, ", '<U%zu'), (", name_chars);
        else
            put_text(&out, ", '|O'), (");
        put_repr(&out, vector_field);
        put_text(&out, ", '%s', (%zu,))], 'fortran_order': False, 'shape': (%zu,), }", vector_type,
                 dim, n_rows);
    } else {
        put_text(&out, "'%s', 'fortran_order': False, 'shape': (%zu, %zu), }", vector_type, n_rows,
                 dim);
    }
    /* NumPy leaves room for the row count to grow to 21 digits, then fills up to 64 bytes; never
     * with nothing. */
    put_text(&out, "%*s", 21 - snprintf(number, sizeof number, "%zu", n_rows), "");
    size_t used = (size_t)(out.p - (char *)buf) + 1;
    put_text(&out, "%*s\n", (int)(64 - used % 64), "");
    size_t total = (size_t)(out.p - (char *)buf);
    if (out.is_full || total - 10 > UINT16_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "npy header: the field names do not fit in %zu bytes",
                       cap);
    memcpy(buf, "\x93NUMPY\x01\x00", 8);
    buf[8] = (unsigned char)((total - 10) & 0xff);
    buf[9] = (unsigned char)((total - 10) >> 8);
    return (int64_t)total;
}
