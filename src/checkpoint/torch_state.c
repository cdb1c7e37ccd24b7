/* The policy that gives the pickle of a state dict its meaning: see torch_state.h. A dict is a
 * number and its items; storages and tensors are records. Everything is checked when it is made, so
 * what is left at the end can be trusted. */
#include "checkpoint/torch_state.h"
#include <stdio.h>
#include <string.h>

enum { PLAIN_DICT = 0, ORDERED_DICT = 1 };      /* kinds of the machine's dicts */
enum { RECORD_STORAGE = 1, RECORD_TENSOR = 2 }; /* kinds of our records */
enum { MAX_VIEWS = MS_STORED_MAX_TENSORS, MAX_STORAGES = MS_STORED_MAX_TENSORS, MAX_ITEMS = 65536 };

/* Globals: the three callables first, then the storage classes in the order of `storage_kinds`. */
enum { CALL_ORDERED_DICT, CALL_TENSOR, CALL_PARAMETER, FIRST_STORAGE };
static const struct ms_pickle_global globals[] = {
    {"collections", "OrderedDict"},
    {"torch._utils", "_rebuild_tensor_v2"},
    {"torch._utils", "_rebuild_parameter"},
    {"torch", "FloatStorage"},
    {"torch", "HalfStorage"},
    {"torch", "BFloat16Storage"},
    {"torch", "DoubleStorage"},
    {"torch", "LongStorage"},
    {"torch", "IntStorage"},
    {"torch", "ShortStorage"},
    {"torch", "CharStorage"},
    {"torch", "ByteStorage"},
    {"torch", "BoolStorage"},
};
enum { N_GLOBALS = sizeof globals / sizeof *globals };
static const struct {
    int dtype;
    size_t item_bytes;
} storage_kinds[N_GLOBALS - FIRST_STORAGE] = {
    {MSIM_DTYPE_F32, 4},
    {MSIM_DTYPE_F16, 2},
    {MSIM_DTYPE_BF16, 2},
    {MSIM_DTYPE_F64, 8},
    {-1, 8},
    {-1, 4},
    {-1, 2},
    {-1, 1},
    {-1, 1},
    {-1, 1},
};

static bool is_record(ms_pickle_value v, uint32_t kind) {
    return v.tag == MS_PICKLE_RECORD && v.n == kind;
}

static bool is_empty_dict(const ms_pickle *p, ms_pickle_value v, int64_t kind) {
    return v.tag == MS_PICKLE_DICT && v.u.number == kind && ms_pickle_count(p, v) == 0;
}

/* ---- Storages -------------------------------------------------------------------------------- */

/* The same storage may be named many times, always alike. */
static int find_storage(ms_torch_state *st, ms_pickle *p, const ms_torch_storage *want,
                        size_t *out) {
    for (size_t i = 0; i < st->n_storages; i++) {
        const ms_torch_storage *s = &st->storages[i];
        if (s->key_bytes != want->key_bytes || memcmp(s->key, want->key, s->key_bytes) != 0)
            continue;
        if (s->kind != want->kind || s->n != want->n)
            return ms_pickle_fail(
                p, "storage %.*s: expected %s of %lld elements as before, got %s of %lld",
                (int)(s->key_bytes < 40 ? s->key_bytes : 40), s->key, s->kind, (long long)s->n,
                want->kind, (long long)want->n);
        *out = i;
        return 1;
    }
    return 0;
}

/* ("storage", class, key, location, count), and None as a sixth part in legacy files. */
static int on_persist(void *user, ms_pickle *p, ms_pickle_value id, ms_pickle_value *out) {
    ms_torch_state *st = user;
    uint32_t n = st->is_legacy ? 6 : 5;
    const ms_pickle_value *v = id.tag == MS_PICKLE_TUPLE && id.n == n ? ms_pickle_items(p, id)
                                                                      : NULL;
    if (!v)
        return ms_pickle_fail(p, "persistent id: expected a tuple of %u, got %s", n,
                              ms_pickle_tag_name(id));
    if (!ms_pickle_text_is(v[0], "storage"))
        return ms_pickle_fail(p, "persistent id: this is not a storage");
    if (v[1].tag != MS_PICKLE_GLOBAL || v[1].n < FIRST_STORAGE || v[2].tag != MS_PICKLE_TEXT ||
        v[2].n == 0 || v[3].tag != MS_PICKLE_TEXT || v[4].tag != MS_PICKLE_INT || v[4].u.number < 0)
        return ms_pickle_fail(
            p, "persistent id: its values are not a storage class, key, location and count");
    if (st->is_legacy && v[5].tag != MS_PICKLE_NONE)
        return ms_pickle_fail(p, "persistent id: view metadata (%s) are not supported",
                              ms_pickle_tag_name(v[5]));
    uint32_t kind = v[1].n - FIRST_STORAGE;
    ms_torch_storage s = {.key = v[2].u.text,
                          .key_bytes = v[2].n,
                          .kind = globals[v[1].n].name,
                          .dtype = storage_kinds[kind].dtype,
                          .item_bytes = storage_kinds[kind].item_bytes,
                          .n = v[4].u.number};
    if (!ms_mul_size((size_t)s.n, s.item_bytes, &s.n_bytes))
        return ms_pickle_fail(p, "storage: %lld elements do not fit in memory", (long long)s.n);
    size_t place = 0;
    int rc = find_storage(st, p, &s, &place);
    if (rc < 0) return rc;
    if (rc == 0) {
        if (st->n_storages >= MAX_STORAGES)
            return ms_pickle_fail(p, "storages: there are more than %d", MAX_STORAGES);
        rc = ms_pickle_grow(p, (void **)&st->storages, &st->storages_cap, st->n_storages + 1,
                            sizeof s, "storages");
        if (rc < 0) return rc;
        place = st->n_storages++;
        st->storages[place] = s;
    }
    *out =
        (ms_pickle_value){.tag = MS_PICKLE_RECORD, .n = RECORD_STORAGE, .u.number = (int64_t)place};
    return MSIM_OK;
}

/* ---- Tensors --------------------------------------------------------------------------------- */

static int take_sizes(ms_pickle *p, ms_pickle_value tuple, const char *what, int64_t *out) {
    const ms_pickle_value *v = ms_pickle_items(p, tuple);
    for (uint32_t i = 0; i < tuple.n; i++) {
        if (v[i].tag != MS_PICKLE_INT || v[i].u.number < 0)
            return ms_pickle_fail(p, "tensor: expected a %s of whole numbers from 0, got %s", what,
                                  v[i].tag == MS_PICKLE_INT ? "a negative one"
                                                            : ms_pickle_tag_name(v[i]));
        out[i] = v[i].u.number;
    }
    return MSIM_OK;
}

/* Count the elements and find the furthest one; both must fit, the latter inside the storage. */
static int check_view(ms_pickle *p, struct ms_torch_view *view, const ms_torch_storage *s) {
    bool is_empty = false, overflow = false;
    int64_t n = 1, last = view->offset;
    for (int i = 0; i < view->rank; i++) is_empty |= view->shape[i] == 0;
    for (int i = 0; i < view->rank && !is_empty; i++) {
        int64_t reach;
        overflow |= __builtin_mul_overflow(n, view->shape[i], &n);
        overflow |= __builtin_mul_overflow(view->shape[i] - 1, view->stride[i], &reach);
        overflow |= __builtin_add_overflow(last, reach, &last);
    }
    view->n = is_empty ? 0 : n;
    if (overflow || n > INT64_MAX / 8 || (is_empty ? view->offset > s->n : last >= s->n))
        return ms_pickle_fail(p, "tensor: it reaches beyond its storage of %lld elements",
                              (long long)s->n);
    return MSIM_OK;
}

static int rebuild_tensor(ms_torch_state *st, ms_pickle *p, ms_pickle_value args,
                          ms_pickle_value *out) {
    const ms_pickle_value *v = ms_pickle_items(p, args);
    if (args.n < 6 || args.n > 7)
        return ms_pickle_fail(p, "tensor: expected 6 or 7 arguments, got %u", args.n);
    if (!is_record(v[0], RECORD_STORAGE) || v[1].tag != MS_PICKLE_INT || v[1].u.number < 0 ||
        v[2].tag != MS_PICKLE_TUPLE || v[3].tag != MS_PICKLE_TUPLE || v[4].tag != MS_PICKLE_BOOL ||
        !is_empty_dict(p, v[5], ORDERED_DICT))
        return ms_pickle_fail(
            p, "tensor: its arguments are not storage, offset, size, stride, flag and no hooks");
    if (args.n == 7 && v[6].tag != MS_PICKLE_NONE && !is_empty_dict(p, v[6], PLAIN_DICT))
        return ms_pickle_fail(p, "tensor: metadata (%s) are not supported",
                              ms_pickle_tag_name(v[6]));
    if (v[2].n != v[3].n || v[2].n > MS_STORED_MAX_RANK)
        return ms_pickle_fail(
            p, "tensor: expected as many sizes as strides, at most %d, got %u and %u",
            MS_STORED_MAX_RANK, v[2].n, v[3].n);
    struct ms_torch_view view = {
        .storage = (uint32_t)v[0].u.number, .rank = (int)v[2].n, .offset = v[1].u.number};
    int rc = take_sizes(p, v[2], "size", view.shape);
    if (rc >= 0) rc = take_sizes(p, v[3], "stride", view.stride);
    if (rc >= 0) rc = check_view(p, &view, &st->storages[view.storage]);
    if (rc < 0) return rc;
    if (st->n_views >= MAX_VIEWS)
        return ms_pickle_fail(p, "tensors: there are more than %d", MAX_VIEWS);
    rc = ms_pickle_grow(p, (void **)&st->views, &st->views_cap, st->n_views + 1, sizeof view,
                        "tensors");
    if (rc < 0) return rc;
    st->views[st->n_views] = view;
    *out = (ms_pickle_value){
        .tag = MS_PICKLE_RECORD, .n = RECORD_TENSOR, .u.number = (int64_t)st->n_views++};
    return MSIM_OK;
}

static int on_reduce(void *user, ms_pickle *p, uint32_t global, ms_pickle_value args,
                     ms_pickle_value *out) {
    if (global == CALL_TENSOR) return rebuild_tensor(user, p, args, out);
    const ms_pickle_value *v = ms_pickle_items(p, args);
    if (global == CALL_ORDERED_DICT) {
        if (args.n != 0)
            return ms_pickle_fail(p, "OrderedDict: expected no arguments, got %u", args.n);
        return ms_pickle_new_dict(p, ORDERED_DICT, out);
    }
    if (global == CALL_PARAMETER) {
        if (args.n != 3 || !is_record(v[0], RECORD_TENSOR) || v[1].tag != MS_PICKLE_BOOL ||
            !is_empty_dict(p, v[2], ORDERED_DICT))
            return ms_pickle_fail(p, "parameter: its arguments are not tensor, flag and no hooks");
        *out = v[0];
        return MSIM_OK;
    }
    return ms_pickle_fail(p, "call: torch.%s is a class, not a function", globals[global].name);
}

/* ---- Dicts ----------------------------------------------------------------------------------- */

static int on_set_item(void *user, ms_pickle *p, ms_pickle_value dict, ms_pickle_value key,
                       ms_pickle_value value) {
    ms_torch_state *st = user;
    if (st->n_items >= MAX_ITEMS)
        return ms_pickle_fail(p, "dict items: there are more than %d", MAX_ITEMS);
    int rc = ms_pickle_grow(p, (void **)&st->items, &st->items_cap, st->n_items + 1,
                            sizeof *st->items, "dict items");
    if (rc < 0) return rc;
    bool is_text = key.tag == MS_PICKLE_TEXT;
    st->items[st->n_items++] = (struct ms_torch_item){.dict = dict.n,
                                                      .key = is_text ? key.u.text : NULL,
                                                      .key_bytes = is_text ? key.n : 0,
                                                      .value = value};
    return MSIM_OK;
}

/* The state of an ordered dict is its attribute _metadata: of no use here. */
static int on_build(void *user, ms_pickle *p, ms_pickle_value object, ms_pickle_value state) {
    (void)user;
    if (object.tag == MS_PICKLE_DICT && object.u.number == ORDERED_DICT &&
        state.tag == MS_PICKLE_DICT)
        return MSIM_OK;
    return ms_pickle_fail(p, "state: only an ordered dict may have one, not %s",
                          ms_pickle_tag_name(object));
}

/* Lists hold nothing that is used here: optimisers keep their groups in them. */
static int on_append(void *user, ms_pickle *p, ms_pickle_value list, ms_pickle_value item) {
    (void)user;
    (void)p;
    (void)list;
    (void)item;
    return MSIM_OK;
}

static bool holds_tensors(const ms_torch_state *st, uint32_t dict) {
    for (size_t i = 0; i < st->n_items; i++)
        if (st->items[i].dict == dict && is_record(st->items[i].value, RECORD_TENSOR)) return true;
    return false;
}

/* Training scripts save {"state_dict": tensors, "epoch": 2, ...}. When the top dict holds no tensor
 * itself and one of its members is a dict of tensors, that member is meant. */
static int find_state_dict(const ms_torch_state *st, uint32_t top, const char *where, uint32_t *out,
                           msim_error *err) {
    const struct ms_torch_item *found = NULL;
    size_t n_found = 0, at = 0;
    char keys[200] = "";
    *out = top;
    if (holds_tensors(st, top)) return MSIM_OK;
    for (size_t i = 0; i < st->n_items; i++) {
        const struct ms_torch_item *item = &st->items[i];
        if (item->dict != top) continue;
        if (item->key && at < sizeof keys)
            at += (size_t)snprintf(keys + at, sizeof keys - at, "%s%.*s", at ? ", " : "",
                                   (int)(item->key_bytes < 60 ? item->key_bytes : 60), item->key);
        if (item->value.tag != MS_PICKLE_DICT || !holds_tensors(st, item->value.n)) continue;
        found = item;
        n_found++;
    }
    if (n_found == 1) *out = found->value.n;
    if (n_found == 1 || !keys[0]) return MSIM_OK;
    if (n_found == 0)
        return ms_fail(
            err, MSIM_E_FORMAT,
            "not a state dict: %.200s: no tensors, neither in the dict nor in its members "
            "%s",
            where, keys);
    return ms_fail(
        err, MSIM_E_FORMAT,
        "not a state dict: %.200s: several of its members %s hold tensors; torch.save the "
        "one that is the model's state_dict",
        where, keys);
}

int64_t ms_torch_state_read(const unsigned char *bytes, size_t n_bytes, const char *where,
                            bool is_legacy, ms_torch_state *out, msim_error *err) {
    static const ms_pickle_policy policy = {.globals = globals,
                                            .n_globals = N_GLOBALS,
                                            .max_bytes = (size_t)64 << 20,
                                            .reduce = on_reduce,
                                            .build = on_build,
                                            .persist = on_persist,
                                            .append = on_append,
                                            .set_item = on_set_item};
    ms_pickle_value top;
    *out = (ms_torch_state){.is_legacy = is_legacy};
    int64_t n = ms_pickle_read(bytes, n_bytes, where, &policy, out, &top, err);
    if (n < 0) return n;
    if (top.tag != MS_PICKLE_DICT)
        return ms_fail(err, MSIM_E_FORMAT,
                       "not a state dict: %s: expected a dict of tensors, got %s", where,
                       ms_pickle_tag_name(top));
    int rc = find_state_dict(out, top.n, where, &out->top, err);
    return rc < 0 ? rc : n;
}

void ms_torch_state_free(ms_torch_state *st) {
    ms_free(st->storages);
    ms_free(st->views);
    ms_free(st->items);
    *st = (ms_torch_state){0};
}

static int fill_tensor(const ms_torch_state *st, const struct ms_torch_item *item, ms_stored *s,
                       ms_stored_tensor *t, msim_error *err) {
    if (!item->key || memchr(item->key, 0, item->key_bytes))
        return ms_fail(err, MSIM_E_FORMAT, "not a state dict: %s: a key is not a text", s->path);
    char *name = ms_arena_get(&s->arena, (size_t)item->key_bytes + 1, 1, "tensor names", err);
    if (!name) return -MSIM_E_MEMORY;
    memcpy(name, item->key, item->key_bytes);
    name[item->key_bytes] = 0;
    if (!is_record(item->value, RECORD_TENSOR))
        return ms_fail(err, MSIM_E_FORMAT,
                       "not a state dict: %s, key %s: expected a tensor, got %s", s->path, name,
                       ms_pickle_tag_name(item->value));
    const struct ms_torch_view *view = &st->views[item->value.u.number];
    const ms_torch_storage *storage = &st->storages[view->storage];
    if (storage->dtype < 0)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "unsupported type: %s, tensor %s: expected f32, f16, bf16 or f64, got %s",
                       s->path, name, storage->kind);
    *t = (ms_stored_tensor){.name = name,
                            .dtype = storage->dtype,
                            .rank = view->rank,
                            .n = view->n,
                            .base = storage->data + (size_t)view->offset * storage->item_bytes};
    memcpy(t->shape, view->shape, sizeof t->shape);
    memcpy(t->stride, view->stride, sizeof t->stride);
    return MSIM_OK;
}

int ms_torch_state_tensors(const ms_torch_state *st, ms_stored *s, msim_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < st->n_items; i++) n += st->items[i].dict == st->top;
    if (n > MS_STORED_MAX_TENSORS)
        return ms_fail(err, MSIM_E_FORMAT,
                       "not a state dict: %s: expected at most %d tensors, got %zu", s->path,
                       MS_STORED_MAX_TENSORS, n);
    s->tensors = ms_arena_get(&s->arena, n, sizeof *s->tensors, "tensors", err);
    if (!s->tensors) return -MSIM_E_MEMORY;
    s->n_tensors = 0;
    for (size_t i = 0; i < st->n_items; i++) {
        if (st->items[i].dict != st->top) continue;
        ms_stored_tensor t = {.name = NULL};
        int rc = fill_tensor(st, &st->items[i], s, &t, err);
        if (rc < 0) return rc;
        if (ms_stored_find(s, t.name))
            return ms_fail(err, MSIM_E_FORMAT, "not a state dict: %s: the key %s appears twice",
                           s->path, t.name);
        s->tensors[s->n_tensors++] = t;
    }
    return MSIM_OK;
}
