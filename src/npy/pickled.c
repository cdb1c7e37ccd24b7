/* Object arrays: see npy/pickled.h. NumPy writes one array record, types, and for each row a name
 * and an array. The array record is made empty by _reconstruct and then given its shape, type and
 * list of rows; a type is made from a code and then given its parts. Here each of these becomes a
 * record of a few numbers. Every shape, type and length is compared with the .npy header; anything
 * else ends the read.
 *
 * A name object that was used before comes back as a memo slot. The slots of names are kept as runs
 * with a fixed step: one run for a file without repetitions. Memory is 16 bytes per row; the rest
 * is small and freed. docs/FORMATS.md, Corpora. */
#include "npy/pickled.h"
#include "base/mem.h"
#include "pickle/pickle.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TYPES_MAX = 64, LEAST_ROW_BYTES = 24 /* opcodes around the vector, at the very least */ };
#define SLOTS_A_ROW \
    8 /* memo slots that a row with a new name takes: a run goes on as long as this
                       * holds */

enum { RECORD_TYPE = 1, RECORD_ARRAY, RECORD_ROW };
enum {
    GLOBAL_RECONSTRUCT,
    GLOBAL_RECONSTRUCT2,
    GLOBAL_ARRAY,
    GLOBAL_TYPE,
    GLOBAL_SCALAR,
    GLOBAL_SCALAR2
};

static const struct ms_pickle_global globals[] = {
    [GLOBAL_RECONSTRUCT] = {"numpy.core.multiarray", "_reconstruct"},
    [GLOBAL_RECONSTRUCT2] = {"numpy._core.multiarray", "_reconstruct"}, /* as NumPy 2 has it */
    [GLOBAL_ARRAY] = {"numpy", "ndarray"},
    [GLOBAL_TYPE] = {"numpy", "dtype"},
    [GLOBAL_SCALAR] = {"numpy.core.multiarray", "scalar"}, /* known only to say what is wrong with
                                                            * it */
    [GLOBAL_SCALAR2] = {"numpy._core.multiarray", "scalar"},
};

typedef struct {
    char kind; /* f, O, or V */
    bool is_built, has_parts;
    int64_t elem_bytes;
    char order;  /* of the built type: '<', '>', '|' */
    size_t base; /* V of one axis: its elements' type, and their number */
    int64_t dim;
} type_record;

/* Names with slots first, first + 8, ... belong to rows row, row + 1, ... */
typedef struct {
    uint64_t slot;
    int64_t row, n;
} slot_run;

typedef struct {
    const ms_npy_head *head; /* borrowed */
    const unsigned char *bytes;
    const ms_npy_field *name, *vector; /* borrowed from head */
    int64_t n_rows, dim;
    size_t vector_bytes;
    type_record types[TYPES_MAX];
    size_t n_types, record_type; /* record_type: of the whole record, once it is known */
    uint32_t fields_dict;        /* the one dict: fields of the record */
    size_t n_fields;
    struct {
        ms_pickle_value name;
        size_t type;
        int64_t offset;
    } fields[2];
    bool has_array, is_array_built, has_dict, has_record;
    int64_t row;          /* the next */
    int64_t n_arrays;     /* arrays of rows so far: the number of the last */
    uint64_t vector_at;   /* of the last array; 0: not there yet */
    bool is_array_open;   /* the last array belongs to the row that is being read */
    const char *put_text; /* the name of that row, when it was memoised, as slot: */
    uint64_t put_slot;
    uint64_t *offsets, *names; /* owned: [n_rows] */
    slot_run *runs;            /* owned */
    size_t n_runs, runs_cap;
} pickled_reader;

/* ---- Types ----------------------------------------------------------------------------------- */

static bool is_int(ms_pickle_value v, int64_t number) {
    return v.tag == MS_PICKLE_INT && v.u.number == number;
}

/* A record of one kind; its number is within the tables, for only reduce makes it. */
static bool is_record(ms_pickle_value v, uint32_t kind) {
    return v.tag == MS_PICKLE_RECORD && v.n == kind;
}

static int refuse_scalar(ms_pickle *p) {
    return ms_pickle_fail(
        p, "name: it is a NumPy scalar, not a str (save with names [str(n) for n in names])");
}

/* dtype(code, False, True): a type without its parts. */
static int make_type(pickled_reader *r, ms_pickle *p, ms_pickle_value args, ms_pickle_value *out) {
    const ms_pickle_value *items = ms_pickle_items(p, args);
    if (args.n != 3 || items[0].tag != MS_PICKLE_TEXT || items[0].n < 2 || items[0].n > 12)
        return ms_pickle_fail(p,
                              "type: its arguments are not the code of a NumPy type and two flags");
    const char *code = items[0].u.text;
    int64_t size = 0;
    for (uint32_t i = 1; i < items[0].n; i++) {
        if (code[i] < '0' || code[i] > '9') size = -1;
        if (size >= 0) size = size * 10 + (code[i] - '0');
    }
    if (code[0] == 'U' && r->has_record) return refuse_scalar(p); /* its type comes before it */
    if ((code[0] != 'f' && code[0] != 'O' && code[0] != 'V') || size < 1)
        return ms_pickle_fail(p, "type: expected f2, f4, f8, O8 or a record, got '%.*s'",
                              (int)items[0].n, code);
    if (r->n_types == TYPES_MAX)
        return ms_pickle_fail(p, "types: there are more than %d", TYPES_MAX);
    r->types[r->n_types] = (type_record){.kind = code[0], .elem_bytes = size};
    *out = (ms_pickle_value){
        .tag = MS_PICKLE_RECORD, .n = RECORD_TYPE, .u.number = (int64_t)r->n_types++};
    return MSIM_OK;
}

/* (base, (dim,)): a vector of elements. */
static int build_vector(pickled_reader *r, ms_pickle *p, type_record *t, ms_pickle_value parts) {
    const ms_pickle_value *items = ms_pickle_items(p, parts);
    if (parts.n != 2 || !is_record(items[0], RECORD_TYPE) || items[1].tag != MS_PICKLE_TUPLE ||
        items[1].n != 1)
        return ms_pickle_fail(p, "type: a vector does not consist of elements and one axis");
    ms_pickle_value axis = ms_pickle_items(p, items[1])[0];
    if (!is_int(axis, r->dim))
        return ms_pickle_fail(
            p, "type: the vectors do not have %" PRId64 " components, as the header says", r->dim);
    t->base = (size_t)items[0].u.number;
    t->dim = axis.u.number;
    return MSIM_OK;
}

/* (name, name) with the dict of fields: the record. */
static int build_record(pickled_reader *r, ms_pickle *p, type_record *t, ms_pickle_value names,
                        ms_pickle_value dict) {
    if (names.n != 2 || dict.tag != MS_PICKLE_DICT || !r->has_dict || dict.n != r->fields_dict ||
        r->n_fields != 2)
        return ms_pickle_fail(p, "type: this is not a record of two fields");
    const ms_pickle_value *order = ms_pickle_items(p, names);
    const ms_npy_field *const expected[] = {r->name, r->vector};
    size_t found[2];
    for (int i = 0; i < 2; i++) {
        int k = 0;
        while (k < 2 && !ms_pickle_text_is(r->fields[k].name, expected[i]->name)) k++;
        if (k == 2 || !ms_pickle_text_is(order[i], expected[i]->name) ||
            r->fields[k].offset != (i ? 8 : 0))
            return ms_pickle_fail(p, "type: there is no field '%.80s' where the header has it",
                                  expected[i]->name);
        found[i] = r->fields[k].type;
    }
    const type_record *name = &r->types[found[0]], *vector = &r->types[found[1]];
    if (name->kind != 'O' || vector->kind != 'V' || vector->dim == 0)
        return ms_pickle_fail(p, "type: the fields are not one of objects and one of vectors");
    const type_record *elem = &r->types[vector->base];
    if (elem->kind != 'f' || (size_t)elem->elem_bytes != r->vector->elem_bytes || !elem->is_built ||
        elem->order != '<')
        return ms_pickle_fail(p, "type: the elements are not of type '<f%zu', as the header says",
                              r->vector->elem_bytes);
    t->has_parts = true;
    return MSIM_OK;
}

/* The state of a type: (3, order, subtype, names, fields, item bytes, alignment, flags). */
static int build_type(pickled_reader *r, ms_pickle *p, ms_pickle_value object,
                      ms_pickle_value state) {
    type_record *t = &r->types[object.u.number];
    const ms_pickle_value *items = state.tag == MS_PICKLE_TUPLE ? ms_pickle_items(p, state) : NULL;
    if (!items || state.n != 8 || !is_int(items[0], 3) || items[1].tag != MS_PICKLE_TEXT ||
        items[1].n != 1 || t->is_built)
        return ms_pickle_fail(p, "type: its state is not that of a NumPy type, version 3");
    ms_pickle_value sub = items[2], names = items[3], fields = items[4];
    t->is_built = true;
    t->order = *items[1].u.text;
    if (sub.tag == MS_PICKLE_TUPLE && t->kind == 'V') return build_vector(r, p, t, sub);
    if (names.tag != MS_PICKLE_TUPLE || t->kind != 'V') {
        if (sub.tag == MS_PICKLE_NONE && names.tag == MS_PICKLE_NONE &&
            fields.tag == MS_PICKLE_NONE)
            return MSIM_OK;
        return ms_pickle_fail(p, "type: it has parts, but is neither a record nor a vector");
    }
    int rc = build_record(r, p, t, names, fields);
    r->record_type = (size_t)object.u.number;
    r->has_record = rc >= 0;
    return rc;
}

static int set_field(void *user, ms_pickle *p, ms_pickle_value dict, ms_pickle_value key,
                     ms_pickle_value value) {
    pickled_reader *r = user;
    const ms_pickle_value *items = value.tag == MS_PICKLE_TUPLE ? ms_pickle_items(p, value) : NULL;
    if (r->n_fields == 0 && !r->has_dict) r->fields_dict = dict.n;
    r->has_dict = true;
    if (dict.n != r->fields_dict || r->n_fields == 2 || key.tag != MS_PICKLE_TEXT || !items ||
        value.n != 2 || !is_record(items[0], RECORD_TYPE) || items[1].tag != MS_PICKLE_INT)
        return ms_pickle_fail(p, "fields: they are not two, each a name with a type and a place");
    r->fields[r->n_fields].name = key;
    r->fields[r->n_fields].type = (size_t)items[0].u.number;
    r->fields[r->n_fields++].offset = items[1].u.number;
    return MSIM_OK;
}

/* ---- Arrays ---------------------------------------------------------------------------------- */

/* _reconstruct(ndarray, (0,), b"b"): an empty array. The first is the whole, the others are
 * rows. */
static int make_array(pickled_reader *r, ms_pickle *p, ms_pickle_value args, ms_pickle_value *out) {
    const ms_pickle_value *items = ms_pickle_items(p, args);
    if (args.n != 3 || items[0].tag != MS_PICKLE_GLOBAL || items[0].n != GLOBAL_ARRAY ||
        items[1].tag != MS_PICKLE_TUPLE || items[1].n != 1 ||
        !is_int(ms_pickle_items(p, items[1])[0], 0) || items[2].tag != MS_PICKLE_BYTES)
        return ms_pickle_fail(p, "array: its arguments are not numpy.ndarray, (0,) and bytes");
    if (!r->has_array) {
        r->has_array = true;
        *out = (ms_pickle_value){.tag = MS_PICKLE_RECORD, .n = RECORD_ARRAY};
        return MSIM_OK;
    }
    if (r->is_array_open) return ms_pickle_fail(p, "row: it has a second array");
    r->is_array_open = true;
    r->vector_at = 0;
    *out = (ms_pickle_value){.tag = MS_PICKLE_RECORD, .n = RECORD_ROW, .u.number = ++r->n_arrays};
    return MSIM_OK;
}

static int reduce(void *user, ms_pickle *p, uint32_t global, ms_pickle_value args,
                  ms_pickle_value *out) {
    switch (global) {
    case GLOBAL_RECONSTRUCT:
    case GLOBAL_RECONSTRUCT2: return make_array(user, p, args, out);
    case GLOBAL_TYPE: return make_type(user, p, args, out);
    case GLOBAL_SCALAR:
    case GLOBAL_SCALAR2: return refuse_scalar(p);
    default: return ms_pickle_fail(p, "call: this class of NumPy is neither an array nor a type");
    }
}

/* The state of an array: (1, shape, type, is column-major, data). */
static int check_state(ms_pickle *p, ms_pickle_value state, int64_t n, size_t *type) {
    const ms_pickle_value *items = state.tag == MS_PICKLE_TUPLE ? ms_pickle_items(p, state) : NULL;
    if (!items || state.n != 5 || !is_int(items[0], 1) || items[1].tag != MS_PICKLE_TUPLE ||
        !is_record(items[2], RECORD_TYPE))
        return ms_pickle_fail(p, "array: its state is not version 1, shape, type, order and data");
    ms_pickle_value axis = items[1].n == 1 ? ms_pickle_items(p, items[1])[0]
                                           : (ms_pickle_value){.tag = MS_PICKLE_NONE};
    if (axis.tag != MS_PICKLE_INT || axis.u.number != n)
        return ms_pickle_fail(p, "array: its shape is not (%" PRId64 ",), as the header says", n);
    if (items[3].tag != MS_PICKLE_BOOL || items[3].u.number)
        return ms_pickle_fail(p, "array: the data are not row-major");
    *type = (size_t)items[2].u.number;
    return MSIM_OK;
}

static int build_row(pickled_reader *r, ms_pickle *p, ms_pickle_value object,
                     ms_pickle_value state) {
    size_t type;
    if (!r->is_array_open || object.u.number != r->n_arrays || r->vector_at)
        return ms_pickle_fail(p, "row: its array was filled before");
    int rc = check_state(p, state, r->dim, &type);
    if (rc < 0) return rc;
    const type_record *t = &r->types[type];
    ms_pickle_value data = ms_pickle_items(p, state)[4];
    if (t->kind != 'f' || (size_t)t->elem_bytes != r->vector->elem_bytes || !t->is_built ||
        t->order != '<')
        return ms_pickle_fail(p, "row: the elements are not of type '<f%zu', as the header says",
                              r->vector->elem_bytes);
    if (data.tag != MS_PICKLE_BYTES || data.n != r->vector_bytes)
        return ms_pickle_fail(p, "row: expected %zu bytes of data, got %s of %" PRIu32,
                              r->vector_bytes, ms_pickle_tag_name(data),
                              data.tag == MS_PICKLE_BYTES ? data.n : 0);
    r->vector_at = (uint64_t)((const unsigned char *)data.u.text - r->bytes);
    return MSIM_OK;
}

static int build(void *user, ms_pickle *p, ms_pickle_value object, ms_pickle_value state) {
    pickled_reader *r = user;
    size_t type;
    if (is_record(object, RECORD_TYPE)) return build_type(r, p, object, state);
    if (is_record(object, RECORD_ROW)) return build_row(r, p, object, state);
    if (!is_record(object, RECORD_ARRAY))
        return ms_pickle_fail(p, "state: only an array or a type may have one, not %s",
                              ms_pickle_tag_name(object));
    int rc = check_state(p, state, r->n_rows, &type);
    if (rc < 0) return rc;
    if (r->is_array_built || !r->has_record || type != r->record_type)
        return ms_pickle_fail(p, "array: its type is not the record of the header's fields");
    if (ms_pickle_items(p, state)[4].tag != MS_PICKLE_LIST)
        return ms_pickle_fail(p, "array: expected a list of rows, got %s",
                              ms_pickle_tag_name(ms_pickle_items(p, state)[4]));
    r->is_array_built = true;
    return MSIM_OK;
}

/* ---- Rows ------------------------------------------------------------------------------------ */

/* The name of the row that is being read got a slot. */
static int put(void *user, ms_pickle *p, uint64_t slot, ms_pickle_value text) {
    pickled_reader *r = user;
    (void)p;
    r->put_text = text.u.text;
    r->put_slot = slot;
    return MSIM_OK;
}

static int keep_slot(pickled_reader *r, ms_pickle *p) {
    slot_run *last = r->n_runs ? &r->runs[r->n_runs - 1] : NULL;
    if (last && r->row == last->row + last->n &&
        r->put_slot == last->slot + SLOTS_A_ROW * (uint64_t)last->n) {
        last->n++;
        return MSIM_OK;
    }
    int rc = ms_pickle_grow(p, (void **)&r->runs, &r->runs_cap, r->n_runs + 1, sizeof *r->runs,
                            "slots of names");
    if (rc >= 0) r->runs[r->n_runs++] = (slot_run){.slot = r->put_slot, .row = r->row, .n = 1};
    return rc;
}

static int recall(void *user, ms_pickle *p, uint64_t slot, ms_pickle_value *out) {
    pickled_reader *r = user;
    size_t low = 0, high = r->n_runs;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->runs[middle].slot <= slot)
            low = middle;
        else
            high = middle;
    }
    const slot_run *run = low < high ? &r->runs[low] : NULL;
    uint64_t k = run && slot >= run->slot ? (slot - run->slot) / SLOTS_A_ROW : 0;
    if (!run || slot < run->slot || (slot - run->slot) % SLOTS_A_ROW != 0 || k >= (uint64_t)run->n)
        return ms_pickle_fail(p, "memo: slot %" PRIu64 " does not hold the name of an earlier row",
                              slot);
    uint64_t name = r->names[run->row + (int64_t)k];
    *out = (ms_pickle_value){.tag = MS_PICKLE_TEXT,
                             .n = (uint32_t)ms_npy_name_bytes(name),
                             .u.text = (const char *)r->bytes + ms_npy_name_at(name)};
    return MSIM_OK;
}

static int take_row(void *user, ms_pickle *p, ms_pickle_value pair) {
    pickled_reader *r = user;
    ms_pickle_value name = ms_pickle_items(p, pair)[0], array = ms_pickle_items(p, pair)[1];
    if (r->row == r->n_rows)
        return ms_pickle_fail(p, "rows: there are more than %" PRId64 ", as the header says",
                              r->n_rows);
    if (name.tag != MS_PICKLE_TEXT)
        return ms_pickle_fail(p, "row: expected a str for a name, got %s",
                              ms_pickle_tag_name(name));
    if (!is_record(array, RECORD_ROW) || !r->is_array_open || array.u.number != r->n_arrays ||
        !r->vector_at)
        return ms_pickle_fail(p, "row: expected an array for a vector, got %s",
                              ms_pickle_tag_name(array));
    r->offsets[r->row] = r->vector_at;
    r->names[r->row] =
        ms_npy_name_pack((uint64_t)((const unsigned char *)name.u.text - r->bytes), name.n);
    int rc = r->put_text == name.u.text && r->put_text ? keep_slot(r, p) : MSIM_OK;
    r->put_text = NULL;
    r->is_array_open = false;
    r->row++;
    return rc;
}

static int append(void *user, ms_pickle *p, ms_pickle_value list, ms_pickle_value item) {
    (void)user, (void)list;
    if (item.tag == MS_PICKLE_ROW) return MSIM_OK;
    return ms_pickle_fail(p, "rows: expected pairs of a name and a vector, got %s",
                          ms_pickle_tag_name(item));
}

/* ---- The file -------------------------------------------------------------------------------- */

static int refuse_shape(const char *path, msim_error *err) {
    return ms_fail(
        err, MSIM_E_UNSUPPORTED,
        "corpus: %s: the Python objects in this array are not records of a name (an object) and a "
        "vector of f4, f2 or f8; save numpy.array of such records, or plain rows with numpy.save",
        path);
}

/* What the header promises; row tables are sized by it once the file is long enough to hold so many
 * rows. */
static int begin(pickled_reader *r, const ms_npy_head *head, size_t n_bytes, const char *path,
                 msim_error *err) {
    if (!head->is_record || head->n_axes != 1 || head->n_fields != 2 || head->fortran_order)
        return refuse_shape(path, err);
    const ms_npy_field *name = &head->fields[0], *vector = &head->fields[1];
    if (name->kind != 'O' || name->n_axes != 0 || vector->kind != 'f' || vector->n_axes != 1 ||
        !*name->name || !*vector->name ||
        (vector->elem_bytes != 2 && vector->elem_bytes != 4 && vector->elem_bytes != 8))
        return refuse_shape(path, err);
    if (vector->order == '>')
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus: %s: expected little-endian data, got big-endian '>f%zu'", path,
                       vector->elem_bytes);
    if (vector->n_elems < 1 || vector->n_elems > MS_NPY_DIM_MAX)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "corpus: %s: expected rows of 1..%d components, got %zu", path,
                       MS_NPY_DIM_MAX, vector->n_elems);
    r->head = head;
    r->name = name;
    r->vector = vector;
    r->dim = (int64_t)vector->n_elems;
    r->vector_bytes = vector->n_elems * vector->elem_bytes;
    size_t left = n_bytes - head->data_offset, n_rows = head->shape[0];
    if (n_rows > left / (r->vector_bytes + LEAST_ROW_BYTES))
        return ms_fail(err, MSIM_E_FORMAT,
                       "corpus: %s: byte %zu: expected %zu rows of at least %zu bytes, got %zu "
                       "bytes (is the file cut short?)",
                       path, head->data_offset, n_rows, r->vector_bytes + LEAST_ROW_BYTES, left);
    if (n_bytes >> (64 - MS_NPY_NAME_BITS))
        return ms_fail(err, MSIM_E_LIMIT, "corpus: %s: expected fewer than 2^%d bytes, got %zu",
                       path, 64 - MS_NPY_NAME_BITS, n_bytes);
    r->n_rows = (int64_t)n_rows;
    return MSIM_OK;
}

/* Protocols by name, so that the user learns what to do. */
static int check_protocol(const ms_npy_head *head, const unsigned char *bytes, size_t n_bytes,
                          const char *path, msim_error *err) {
    const unsigned char *p = bytes + head->data_offset;
    if (n_bytes - head->data_offset < 2 || p[0] != 0x80 || (p[1] != 2 && p[1] != 5)) return MSIM_OK;
    return ms_fail(err, MSIM_E_UNSUPPORTED,
                   "corpus: %s: byte %zu: expected a pickle of protocol 3 or 4, got protocol %d "
                   "(load it in Python where it "
                   "is trusted, and write it with numpy.save of NumPy 1.17 or later)",
                   path, head->data_offset, p[1]);
}

/* A failure among the rows names the row. */
static void name_row(const pickled_reader *r, msim_error *err) {
    size_t n = err ? strlen(err->text) : 0;
    if (err && err->code == MSIM_E_FORMAT && r->offsets && r->row < r->n_rows && r->has_record)
        snprintf(err->text + n, sizeof err->text - n, " (row %" PRId64 ")", r->row);
}

static int read_rows(pickled_reader *r, size_t n_bytes, const char *path, msim_error *err) {
    const ms_pickle_policy policy = {.globals = globals,
                                     .n_globals = sizeof globals / sizeof *globals,
                                     .max_bytes = SIZE_MAX,
                                     .reduce = reduce,
                                     .build = build,
                                     .append = append,
                                     .set_item = set_field,
                                     .start = r->head->data_offset,
                                     .has_bytes = true,
                                     .row = take_row,
                                     .put = put,
                                     .recall = recall};
    ms_pickle_value top;
    int64_t end = ms_pickle_read(r->bytes, n_bytes, path, &policy, r, &top, err);
    if (end < 0) {
        name_row(r, err);
        return (int)end;
    }
    if (!is_record(top, RECORD_ARRAY) || !r->is_array_built)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad pickle: %s, byte %" PRId64 ": expected an array at the end, got %s",
                       path, end - 1,
                       is_record(top, RECORD_ARRAY) ? "an empty one" : ms_pickle_tag_name(top));
    if (r->row != r->n_rows)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad pickle: %s, byte %" PRId64 ": expected %" PRId64
                       " rows, as the header says, got %" PRId64,
                       path, end - 1, r->n_rows, r->row);
    if ((size_t)end != n_bytes)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad pickle: %s, byte %" PRId64 ": %zu bytes follow the end of the pickle",
                       path, end, n_bytes - (size_t)end);
    return MSIM_OK;
}

int ms_npy_pickle_view(const ms_npy_head *head, const unsigned char *bytes, size_t n_bytes,
                       const char *path, ms_npy_view *out, msim_error *err) {
    pickled_reader *r = ms_alloc(1, sizeof *r, "pickle reader", err);
    if (!r) return -MSIM_E_MEMORY;
    r->bytes = bytes;
    int rc = begin(r, head, n_bytes, path, err);
    if (rc >= 0) rc = check_protocol(head, bytes, n_bytes, path, err);
    if (rc >= 0) {
        r->offsets = ms_alloc((size_t)r->n_rows, sizeof *r->offsets, "places of rows", err);
        r->names = r->offsets
                       ? ms_alloc((size_t)r->n_rows, sizeof *r->names, "places of names", err)
                       : NULL;
        rc = r->names ? read_rows(r, n_bytes, path, err) : -MSIM_E_MEMORY;
    }
    if (rc >= 0) {
        static const int dtypes[] = {
            [2] = MSIM_DTYPE_F16, [4] = MSIM_DTYPE_F32, [8] = MSIM_DTYPE_F64};
        *out = (ms_npy_view){.rows = {.base = bytes,
                                      .row_bytes = r->vector_bytes,
                                      .offsets = r->offsets,
                                      .n_rows = r->n_rows,
                                      .dim = r->dim,
                                      .dtype = dtypes[r->vector->elem_bytes]},
                             .format = MSIM_FORMAT_PICKLED,
                             .name_kind = 'O',
                             .name_base = bytes,
                             .offsets = r->offsets,
                             .names = r->names};
        r->offsets = r->names = NULL;
    }
    ms_free(r->offsets);
    ms_free(r->names);
    ms_free(r->runs);
    ms_free(r);
    return rc;
}
