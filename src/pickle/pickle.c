/* The pickle machine: see pickle.h. Its opcodes are those that a pickler of protocols 2 to 4 writes
 * for dicts, lists, tuples, texts and numbers; any other byte ends the read. Every operand is
 * checked against the bytes that are left, and every pop against the last mark. Every table has a
 * limit, so a small file takes little memory and a large one ends. */
#include "pickle/pickle.h"
#include "base/mem.h"
#include "base/text/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_NESTING = 64,
    MAX_STACK = 1000000,
    MAX_MEMO = 1000000,
    MAX_CONTAINERS = 1000000,
    MAX_CELLS = 4000000, /* items of all tuples together */
    MAX_TEXT = 65536,
    MAX_GLOBAL = 256 /* bytes of a module or name */
};

typedef struct {
    size_t n_items;
    uint8_t depth;
} container;

struct ms_pickle {
    const unsigned char *bytes; /* borrowed */
    size_t n_bytes, at;
    size_t op_at; /* offset of the opcode being carried out */
    int protocol;
    const char *where;              /* borrowed */
    const ms_pickle_policy *policy; /* borrowed */
    void *user;
    msim_error *err;
    ms_pickle_value *stack, *cells, *memo; /* owned; an unset memo slot has tag UNSET */
    size_t n_stack, stack_cap, n_cells, cells_cap, n_memo, memo_cap;
    container *containers; /* owned */
    size_t n_containers, containers_cap;
    size_t marks[MAX_NESTING]; /* stack heights */
    size_t n_marks;
    bool is_streaming; /* the list of rows has begun: */
    size_t first_cell; /* cells from here on belong to the row that is being read */
    size_t memo_kept;  /* memo slots from here on are only counted */
};

enum { UNSET = 255 };

int ms_pickle_fail(const ms_pickle *p, const char *format, ...) {
    char text[300];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return ms_fail(p->err, MSIM_E_FORMAT, "bad pickle: %s, byte %zu: %s", p->where, p->op_at, text);
}

int ms_pickle_grow(const ms_pickle *p, void **items, size_t *cap, size_t need, size_t item_bytes,
                   const char *what) {
    return ms_grow(items, cap, need, item_bytes, what, p->err);
}

const char *ms_pickle_tag_name(ms_pickle_value v) {
    static const char *const names[] = {"None",
                                        "a boolean",
                                        "an integer",
                                        "a text",
                                        "a global",
                                        "a tuple",
                                        "a list",
                                        "a dict",
                                        "a record",
                                        "bytes",
                                        "a floating-point number",
                                        "a row"};
    return v.tag < sizeof names / sizeof *names ? names[v.tag] : "nothing";
}

bool ms_pickle_text_is(ms_pickle_value v, const char *text) {
    return v.tag == MS_PICKLE_TEXT && v.n == strlen(text) && memcmp(v.u.text, text, v.n) == 0;
}

const ms_pickle_value *ms_pickle_items(const ms_pickle *p, ms_pickle_value tuple) {
    return tuple.n ? p->cells + tuple.u.first : NULL; /* without any tuple there are no cells */
}

size_t ms_pickle_count(const ms_pickle *p, ms_pickle_value v) { return p->containers[v.n].n_items; }

/* ---- Stack ----------------------------------------------------------------------------------- */

static int push(ms_pickle *p, ms_pickle_value v) {
    if (p->n_stack >= MAX_STACK)
        return ms_pickle_fail(p, "stack: there are more than %d values", MAX_STACK);
    if (p->n_stack == p->stack_cap) {
        int rc = ms_grow((void **)&p->stack, &p->stack_cap, p->n_stack + 1, sizeof *p->stack,
                         "pickle stack", p->err);
        if (rc < 0) return rc;
    }
    p->stack[p->n_stack++] = v;
    return MSIM_OK;
}

static int push_number(ms_pickle *p, uint8_t tag, int64_t number) {
    return push(p, (ms_pickle_value){.tag = tag, .u.number = number});
}

/* Values above the last mark: those that opcodes may take. */
static size_t reachable(const ms_pickle *p) {
    return p->n_stack - (p->n_marks ? p->marks[p->n_marks - 1] : 0);
}

static int need_values(ms_pickle *p, size_t n) {
    if (reachable(p) >= n) return MSIM_OK;
    return ms_pickle_fail(p, "stack underflow: expected %zu values, got %zu", n, reachable(p));
}

/* Undo the last mark: *first is the height of the stack below the values it grouped. */
static int pop_mark(ms_pickle *p, size_t *first) {
    if (p->n_marks == 0) return ms_pickle_fail(p, "stack: there is no mark");
    *first = p->marks[--p->n_marks];
    return MSIM_OK;
}

/* What stands below the last n values is the list of rows, or a row that was read: item n belongs
 * into the list. Only rows ever stand on a row, for it is made in no other place. */
static bool is_item(const ms_pickle *p, size_t n) {
    if (!p->is_streaming || p->n_stack <= n) return false;
    uint8_t below = p->stack[p->n_stack - n - 1].tag;
    return below == MS_PICKLE_ROW || below == MS_PICKLE_LIST;
}

/* Hand the pair on the stack over, and forget all that it was made of. */
static int end_row(ms_pickle *p) {
    int rc = p->policy->row(p->user, p, p->stack[p->n_stack - 1]);
    if (rc < 0) return rc;
    p->stack[p->n_stack - 1] = (ms_pickle_value){.tag = MS_PICKLE_ROW};
    p->n_cells = p->first_cell;
    return MSIM_OK;
}

/* The last n values become one tuple. */
static int make_tuple(ms_pickle *p, size_t n) {
    int rc = need_values(p, n);
    if (rc < 0) return rc;
    if (p->n_cells + n > MAX_CELLS)
        return ms_pickle_fail(p, "tuples: there are more than %d items", MAX_CELLS);
    if (p->n_cells + n > p->cells_cap) {
        rc = ms_grow((void **)&p->cells, &p->cells_cap, p->n_cells + n, sizeof *p->cells,
                     "pickle tuples", p->err);
        if (rc < 0) return rc;
    }
    ms_pickle_value tuple = {
        .tag = MS_PICKLE_TUPLE, .depth = 1, .n = (uint32_t)n, .u.first = p->n_cells};
    p->n_stack -= n;
    for (size_t i = 0; i < n; i++) {
        ms_pickle_value item = p->stack[p->n_stack + i];
        if (item.tag == MS_PICKLE_LIST || item.tag == MS_PICKLE_DICT)
            item.depth = p->containers[item.n].depth;
        if (item.depth >= tuple.depth) tuple.depth = (uint8_t)(item.depth + 1);
        p->cells[p->n_cells++] = item;
    }
    if (tuple.depth > MAX_NESTING)
        return ms_pickle_fail(p, "nesting: it is deeper than %d", MAX_NESTING);
    bool is_pair = n == 2 && is_item(p, 0);
    rc = push(p, tuple);
    return rc >= 0 && is_pair ? end_row(p) : rc;
}

/* ---- Containers ------------------------------------------------------------------------------ */

static int new_container(ms_pickle *p, uint8_t tag, int64_t kind, ms_pickle_value *out) {
    if (p->n_containers >= MAX_CONTAINERS)
        return ms_pickle_fail(p, "containers: there are more than %d", MAX_CONTAINERS);
    int rc = ms_grow((void **)&p->containers, &p->containers_cap, p->n_containers + 1,
                     sizeof *p->containers, "pickle containers", p->err);
    if (rc < 0) return rc;
    p->containers[p->n_containers] = (container){.depth = 1};
    *out = (ms_pickle_value){
        .tag = tag, .depth = 1, .n = (uint32_t)p->n_containers++, .u.number = kind};
    return MSIM_OK;
}

int ms_pickle_new_dict(ms_pickle *p, int64_t kind, ms_pickle_value *out) {
    return new_container(p, MS_PICKLE_DICT, kind, out);
}

static int push_container(ms_pickle *p, uint8_t tag) {
    ms_pickle_value v;
    int rc = new_container(p, tag, 0, &v);
    return rc < 0 ? rc : push(p, v);
}

/* EMPTY_LIST. The first list of a stream is the list of rows, and stays the only one. */
static int push_list(ms_pickle *p) {
    if (p->is_streaming) return ms_pickle_fail(p, "there is a second list");
    if (p->policy->row) {
        p->is_streaming = true;
        p->first_cell = p->n_cells;
        p->memo_kept = p->n_memo;
    }
    return push_container(p, MS_PICKLE_LIST);
}

/* Account for one item put into a list or dict. */
static int count_item(ms_pickle *p, ms_pickle_value into, ms_pickle_value item) {
    container *c = &p->containers[into.n];
    unsigned depth = item.depth;
    if (item.tag == MS_PICKLE_LIST || item.tag == MS_PICKLE_DICT)
        depth = p->containers[item.n].depth;
    if (depth >= MAX_NESTING)
        return ms_pickle_fail(p, "nesting: it is deeper than %d", MAX_NESTING);
    if (depth >= c->depth) c->depth = (uint8_t)(depth + 1);
    c->n_items++;
    return MSIM_OK;
}

/* Put stack[first..n_stack) into the list or dict below them and drop them. */
static int add_items(ms_pickle *p, size_t first, uint8_t tag) {
    if (reachable(p) < p->n_stack - first + 1)
        return ms_pickle_fail(p, "stack underflow: there is no container to add to");
    ms_pickle_value into = p->stack[first - 1];
    size_t step = tag == MS_PICKLE_DICT ? 2 : 1;
    if (into.tag != tag)
        return ms_pickle_fail(p, "expected a %s to add to, got %s", step == 2 ? "dict" : "list",
                              ms_pickle_tag_name(into));
    if ((p->n_stack - first) % step != 0)
        return ms_pickle_fail(p, "dict items: there is a key without a value");
    if (step == 2 ? !p->policy->set_item : !p->policy->append)
        return ms_pickle_fail(p, "%s may have no items here", ms_pickle_tag_name(into));
    for (size_t i = first; i < p->n_stack; i += step) {
        ms_pickle_value a = p->stack[i];
        int rc = count_item(p, into, step == 2 ? p->stack[i + 1] : a);
        if (rc >= 0)
            rc = step == 2 ? p->policy->set_item(p->user, p, into, a, p->stack[i + 1])
                           : p->policy->append(p->user, p, into, a);
        if (rc < 0) return rc;
    }
    p->n_stack = first;
    return MSIM_OK;
}

static int add_marked(ms_pickle *p, uint8_t tag) {
    size_t first = 0;
    int rc = pop_mark(p, &first);
    return rc < 0 ? rc : add_items(p, first, tag);
}

static int add_last(ms_pickle *p, size_t n, uint8_t tag) {
    int rc = need_values(p, n + 1);
    return rc < 0 ? rc : add_items(p, p->n_stack - n, tag);
}

/* ---- Operands -------------------------------------------------------------------------------- */

/* n bytes of the pickle as a little-endian unsigned number, n <= 8. */
static int take(ms_pickle *p, size_t n, uint64_t *out) {
    if (p->n_bytes - p->at < n)
        return ms_pickle_fail(p, "truncated: expected %zu bytes of operand, got %zu", n,
                              p->n_bytes - p->at);
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint64_t)p->bytes[p->at + i] << (8 * i);
    p->at += n;
    *out = v;
    return MSIM_OK;
}

static int push_unsigned(ms_pickle *p, size_t n) {
    uint64_t v = 0;
    int rc = take(p, n, &v);
    return rc < 0 ? rc : push_number(p, MS_PICKLE_INT, (int64_t)v);
}

static int push_int32(ms_pickle *p) {
    uint64_t v = 0;
    int rc = take(p, 4, &v);
    return rc < 0 ? rc : push_number(p, MS_PICKLE_INT, (int32_t)(uint32_t)v);
}

/* LONG1: a signed number of up to 8 bytes. */
static int push_long(ms_pickle *p) {
    uint64_t n = 0, v = 0;
    int rc = take(p, 1, &n);
    if (rc < 0) return rc;
    if (n > 8) return ms_pickle_fail(p, "number: expected at most 8 bytes, got %u", (unsigned)n);
    rc = take(p, (size_t)n, &v);
    if (rc < 0) return rc;
    if (n > 0 && n < 8 && v >> (8 * n - 1) & 1) v |= ~(uint64_t)0 << (8 * n);
    return push_number(p, MS_PICKLE_INT, (int64_t)v);
}

static int push_text(ms_pickle *p, size_t length_bytes) {
    uint64_t n = 0;
    int rc = take(p, length_bytes, &n);
    if (rc < 0) return rc;
    if (n > MAX_TEXT)
        return ms_pickle_fail(p, "text: expected at most %d bytes, got %llu", MAX_TEXT,
                              (unsigned long long)n);
    if (n > p->n_bytes - p->at)
        return ms_pickle_fail(p, "truncated: expected a text of %u bytes, got %zu", (unsigned)n,
                              p->n_bytes - p->at);
    const unsigned char *text = p->bytes + p->at;
    if (!ms_utf8_is_surrogatepass((const char *)text, (size_t)n))
        return ms_pickle_fail(p, "text: it is not UTF-8");
    p->at += (size_t)n;
    return push(p, (ms_pickle_value){
                       .tag = MS_PICKLE_TEXT, .n = (uint32_t)n, .u.text = (const char *)text});
}

/* Bytes; lengths from 2^32 on are no vector's. */
static int push_bytes(ms_pickle *p, size_t length_bytes) {
    uint64_t n = 0;
    int rc = take(p, length_bytes, &n);
    if (rc < 0) return rc;
    if (n > p->n_bytes - p->at)
        return ms_pickle_fail(p, "truncated: expected %llu bytes, got %zu", (unsigned long long)n,
                              p->n_bytes - p->at);
    if (n > UINT32_MAX)
        return ms_pickle_fail(p, "bytes: expected fewer than 2^32, got %llu",
                              (unsigned long long)n);
    const unsigned char *first = p->bytes + p->at;
    p->at += (size_t)n;
    return push(p, (ms_pickle_value){
                       .tag = MS_PICKLE_BYTES, .n = (uint32_t)n, .u.text = (const char *)first});
}

/* ---- Globals and memo ------------------------------------------------------------------------ */

static int push_global(ms_pickle *p, const char *module, size_t n_module, const char *name,
                       size_t n_name) {
    for (size_t i = 0; i < p->policy->n_globals; i++) {
        const struct ms_pickle_global *g = &p->policy->globals[i];
        if (strlen(g->module) == n_module && memcmp(g->module, module, n_module) == 0 &&
            strlen(g->name) == n_name && memcmp(g->name, name, n_name) == 0)
            return push(p, (ms_pickle_value){.tag = MS_PICKLE_GLOBAL, .n = (uint32_t)i});
    }
    return ms_pickle_fail(p, "the global %.*s.%.*s is not allowed",
                          (int)(n_module < 80 ? n_module : 80), module,
                          (int)(n_name < 80 ? n_name : 80), name);
}

static int take_line(ms_pickle *p, const char **line, size_t *n) {
    size_t left = p->n_bytes - p->at, limit = left < MAX_GLOBAL + 1 ? left : MAX_GLOBAL + 1;
    const unsigned char *start = p->bytes + p->at, *end = limit ? memchr(start, '\n', limit) : NULL;
    if (!end) return ms_pickle_fail(p, "global: no line of at most %d bytes ends here", MAX_GLOBAL);
    *line = (const char *)start;
    *n = (size_t)(end - start);
    p->at += *n + 1;
    return MSIM_OK;
}

static int op_global(ms_pickle *p) {
    const char *module = NULL, *name = NULL;
    size_t n_module = 0, n_name = 0;
    int rc = take_line(p, &module, &n_module);
    if (rc >= 0) rc = take_line(p, &name, &n_name);
    return rc < 0 ? rc : push_global(p, module, n_module, name, n_name);
}

static int op_stack_global(ms_pickle *p) {
    int rc = need_values(p, 2);
    if (rc < 0) return rc;
    ms_pickle_value module = p->stack[p->n_stack - 2], name = p->stack[p->n_stack - 1];
    if (module.tag != MS_PICKLE_TEXT || name.tag != MS_PICKLE_TEXT)
        return ms_pickle_fail(p, "global: expected two texts, got %s and %s",
                              ms_pickle_tag_name(module), ms_pickle_tag_name(name));
    if (module.n > MAX_GLOBAL || name.n > MAX_GLOBAL)
        return ms_pickle_fail(p, "global: a name is longer than %d bytes", MAX_GLOBAL);
    p->n_stack -= 2;
    return push_global(p, module.u.text, module.n, name.u.text, name.n);
}

static int memo_put(ms_pickle *p, uint64_t slot) {
    int rc = need_values(p, 1);
    if (rc < 0) return rc;
    if (p->policy->row && slot != p->n_memo)
        return ms_pickle_fail(p, "memo: expected slot %zu next, got %llu", p->n_memo,
                              (unsigned long long)slot);
    if (p->is_streaming) {
        ms_pickle_value v = p->stack[p->n_stack - 1];
        p->n_memo++;
        return v.tag == MS_PICKLE_TEXT && is_item(p, 1) ? p->policy->put(p->user, p, slot, v)
                                                        : MSIM_OK;
    }
    /* A pickler numbers its puts from 0, each of at least one byte: a slot beyond the bytes read so
     * far is made up. */
    if (slot >= MAX_MEMO || slot > p->op_at)
        return ms_pickle_fail(p, "memo: expected slots in order below %d, got %llu", MAX_MEMO,
                              (unsigned long long)slot);
    rc = ms_grow((void **)&p->memo, &p->memo_cap, (size_t)slot + 1, sizeof *p->memo, "pickle memo",
                 p->err);
    if (rc < 0) return rc;
    while (p->n_memo <= slot) p->memo[p->n_memo++].tag = UNSET;
    p->memo[slot] = p->stack[p->n_stack - 1];
    return MSIM_OK;
}

static int op_put(ms_pickle *p, size_t operand) {
    uint64_t slot = 0;
    int rc = take(p, operand, &slot);
    return rc < 0 ? rc : memo_put(p, slot);
}

static int op_get(ms_pickle *p, size_t operand) {
    uint64_t slot = 0;
    int rc = take(p, operand, &slot);
    if (rc < 0) return rc;
    if (p->is_streaming && slot >= p->memo_kept && slot < p->n_memo) {
        ms_pickle_value v = {0};
        rc = p->policy->recall(p->user, p, slot, &v);
        return rc < 0 ? rc : push(p, v);
    }
    if (slot >= p->n_memo || p->memo[slot].tag == UNSET)
        return ms_pickle_fail(p, "memo: slot %llu was never set", (unsigned long long)slot);
    return push(p, p->memo[slot]);
}

/* ---- What the policy decides ----------------------------------------------------------------- */

static int op_reduce(ms_pickle *p) {
    int rc = need_values(p, 2);
    if (rc < 0) return rc;
    ms_pickle_value callable = p->stack[p->n_stack - 2], args = p->stack[p->n_stack - 1], out = {0};
    if (callable.tag != MS_PICKLE_GLOBAL || args.tag != MS_PICKLE_TUPLE || !p->policy->reduce)
        return ms_pickle_fail(p, "call: expected an allowed global and a tuple, got %s and %s",
                              ms_pickle_tag_name(callable), ms_pickle_tag_name(args));
    rc = p->policy->reduce(p->user, p, callable.n, args, &out);
    if (rc < 0) return rc;
    p->n_stack -= 2;
    return push(p, out);
}

static int op_build(ms_pickle *p) {
    int rc = need_values(p, 2);
    if (rc < 0) return rc;
    ms_pickle_value object = p->stack[p->n_stack - 2], state = p->stack[p->n_stack - 1];
    if (!p->policy->build)
        return ms_pickle_fail(p, "%s may have no state here", ms_pickle_tag_name(object));
    rc = p->policy->build(p->user, p, object, state);
    if (rc < 0) return rc;
    p->n_stack--;
    return MSIM_OK;
}

static int op_persist(ms_pickle *p) {
    int rc = need_values(p, 1);
    if (rc < 0) return rc;
    ms_pickle_value id = p->stack[p->n_stack - 1], out = {0};
    if (!p->policy->persist)
        return ms_pickle_fail(p, "persistent id: %s may not be one here", ms_pickle_tag_name(id));
    rc = p->policy->persist(p->user, p, id, &out);
    if (rc < 0) return rc;
    p->n_stack--;
    return push(p, out);
}

/* ---- Opcodes --------------------------------------------------------------------------------- */

/* Training scripts save losses and rates beside the tensors. */
static int push_float(ms_pickle *p) {
    uint64_t bits = 0;
    int rc = take(p, 8, &bits);
    return rc < 0 ? rc : push_number(p, MS_PICKLE_FLOAT, 0);
}

static int op_mark(ms_pickle *p) {
    if (p->n_marks >= MAX_NESTING)
        return ms_pickle_fail(p, "nesting: there are more than %d marks", MAX_NESTING);
    p->marks[p->n_marks++] = p->n_stack;
    return MSIM_OK;
}

static int op_tuple(ms_pickle *p) {
    size_t first = 0;
    int rc = pop_mark(p, &first);
    return rc < 0 ? rc : make_tuple(p, p->n_stack - first);
}

static int op_frame(ms_pickle *p) {
    uint64_t n = 0;
    int rc = take(p, 8, &n);
    if (rc < 0) return rc;
    if (n > p->n_bytes - p->at)
        return ms_pickle_fail(p, "truncated: expected a frame of %llu bytes, got %zu",
                              (unsigned long long)n, p->n_bytes - p->at);
    return MSIM_OK;
}

static int unknown_opcode(ms_pickle *p, unsigned op) {
    return ms_pickle_fail(p, "protocol %d: the opcode 0x%02x is not allowed", p->protocol, op);
}

/* Those that only protocol 4 has. */
static int step4(ms_pickle *p, unsigned op) {
    if (p->protocol < 4 || (!p->policy->has_bytes && (op == 0x8d || op == 0x8e)))
        return unknown_opcode(p, op);
    switch (op) {
    case 0x8d: return push_text(p, 8);        /* BINUNICODE8 */
    case 0x8e: return push_bytes(p, 8);       /* BINBYTES8 */
    case 0x8c: return push_text(p, 1);        /* SHORT_BINUNICODE */
    case 0x93: return op_stack_global(p);     /* STACK_GLOBAL */
    case 0x94: return memo_put(p, p->n_memo); /* MEMOIZE */
    case 0x95: return op_frame(p);            /* FRAME */
    default: return unknown_opcode(p, op);
    }
}

static int step(ms_pickle *p, unsigned op) {
    switch (op) {
    case 0x28: return op_mark(p);                        /* MARK */
    case 0x29: return make_tuple(p, 0);                  /* EMPTY_TUPLE */
    case 0x85: return make_tuple(p, 1);                  /* TUPLE1 */
    case 0x86: return make_tuple(p, 2);                  /* TUPLE2 */
    case 0x87: return make_tuple(p, 3);                  /* TUPLE3 */
    case 0x74: return op_tuple(p);                       /* TUPLE */
    case 0x7d: return push_container(p, MS_PICKLE_DICT); /* EMPTY_DICT */
    case 0x5d: return push_list(p);                      /* EMPTY_LIST */
    case 0x73: return add_last(p, 2, MS_PICKLE_DICT);    /* SETITEM */
    case 0x75: return add_marked(p, MS_PICKLE_DICT);     /* SETITEMS */
    case 0x61: return add_last(p, 1, MS_PICKLE_LIST);    /* APPEND */
    case 0x65: return add_marked(p, MS_PICKLE_LIST);     /* APPENDS */
    case 0x4e: return push_number(p, MS_PICKLE_NONE, 0); /* NONE */
    case 0x88: return push_number(p, MS_PICKLE_BOOL, 1); /* NEWTRUE */
    case 0x89: return push_number(p, MS_PICKLE_BOOL, 0); /* NEWFALSE */
    case 0x4b: return push_unsigned(p, 1);               /* BININT1 */
    case 0x4d: return push_unsigned(p, 2);               /* BININT2 */
    case 0x4a: return push_int32(p);                     /* BININT */
    case 0x8a: return push_long(p);                      /* LONG1 */
    case 0x47: return push_float(p);                     /* BINFLOAT */
    case 0x58: return push_text(p, 4);                   /* BINUNICODE */
    case 0x63: return op_global(p);                      /* GLOBAL */
    case 0x71: return op_put(p, 1);                      /* BINPUT */
    case 0x72: return op_put(p, 4);                      /* LONG_BINPUT */
    case 0x68: return op_get(p, 1);                      /* BINGET */
    case 0x6a: return op_get(p, 4);                      /* LONG_BINGET */
    case 0x52: return op_reduce(p);                      /* REDUCE */
    case 0x51: return op_persist(p);                     /* BINPERSID */
    case 0x62: return op_build(p);                       /* BUILD */
    case 0x43:                                           /* SHORT_BINBYTES */
    case 0x42:                                           /* BINBYTES */
        if (!p->policy->has_bytes || p->protocol < 3) return unknown_opcode(p, op);
        return push_bytes(p, op == 0x43 ? 1 : 4);
    default: return step4(p, op);
    }
}

static int run(ms_pickle *p) {
    const unsigned char *head = p->bytes + p->at;
    size_t left = p->n_bytes - p->at;
    if (left < 2 || head[0] != 0x80)
        return ms_pickle_fail(p, "expected a protocol header, got %s",
                              left < 2 ? "the end" : "other bytes");
    p->protocol = head[1];
    if (p->protocol < 2 || p->protocol > 4)
        return ms_pickle_fail(p, "protocol: expected 2, 3 or 4, got %d", p->protocol);
    p->at += 2;
    for (;;) {
        p->op_at = p->at;
        if (p->at >= p->n_bytes) return ms_pickle_fail(p, "truncated: the bytes end before STOP");
        unsigned op = p->bytes[p->at++];
        if (op == 0x2e) break;
        int rc = step(p, op);
        if (rc < 0) return rc;
    }
    if (p->n_stack != 1 || p->n_marks != 0)
        return ms_pickle_fail(p, "STOP: expected one value on the stack, got %zu and %zu marks",
                              p->n_stack, p->n_marks);
    return MSIM_OK;
}

int64_t ms_pickle_read(const unsigned char *bytes, size_t n_bytes, const char *where,
                       const ms_pickle_policy *policy, void *user, ms_pickle_value *top,
                       msim_error *err) {
    ms_pickle p = {.bytes = bytes,
                   .n_bytes = n_bytes,
                   .where = where,
                   .policy = policy,
                   .user = user,
                   .err = err};
    p.at = p.op_at = policy->start;
    bool cut = n_bytes > policy->max_bytes;
    if (cut) p.n_bytes = policy->max_bytes;
    int64_t rc = run(&p);
    if (rc < 0 && cut && p.at >= p.n_bytes)
        rc = ms_pickle_fail(&p, "the pickle is longer than %zu bytes", policy->max_bytes);
    if (rc >= 0) {
        *top = p.stack[0];
        rc = (int64_t)p.at;
    }
    ms_free(p.stack);
    ms_free(p.cells);
    ms_free(p.memo);
    ms_free(p.containers);
    return rc;
}
