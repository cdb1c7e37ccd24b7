/* The two containers of a .pth: the zip archive of today, and the stream that PyTorch wrote before
 * 1.6. Each reader finds the bytes of the storages that the state dict names; torch_state.h reads
 * the pickle. Nothing is copied: storages stay in the map. docs/FORMATS.md, Checkpoints. */
#include "checkpoint/torch_state.h"
#include "checkpoint/zip_dir.h"
#include <stdio.h>
#include <string.h>

static const unsigned char zip_magic[4] = {'P', 'K', 3, 4};
/* Pickles of the magic number and of the version 1001. */
static const unsigned char legacy_magic[15] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                               0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
static const unsigned char legacy_version[6] = {0x80, 2, 0x4d, 0xe9, 3, 0x2e};

static bool starts_with(const ms_map *map, size_t at, const unsigned char *magic, size_t n) {
    return map->n_bytes >= at + n && memcmp(map->data + at, magic, n) == 0;
}

bool ms_torch_is(const ms_map *map) {
    return starts_with(map, 0, zip_magic, sizeof zip_magic) ||
           starts_with(map, 0, legacy_magic, sizeof legacy_magic);
}

/* ---- Zip ------------------------------------------------------------------------------------- */

static bool ends_with(const ms_zip_member *m, const char *tail) {
    size_t n = strlen(tail);
    return m->name_bytes >= n && memcmp(m->name + m->name_bytes - n, tail, n) == 0;
}

/* The member `name` of the archive's one folder; NULL when it has none. */
static const ms_zip_member *find_in(const ms_zip *zip, const ms_zip_member *pickle,
                                    const char *name, size_t n_name) {
    char full[1024];
    size_t top = pickle->name_bytes - strlen("data.pkl");
    if (top + n_name > sizeof full) return NULL;
    memcpy(full, pickle->name, top);
    memcpy(full + top, name, n_name);
    return ms_zip_find(zip, full, top + n_name);
}

/* One folder that holds everything, with one data.pkl in it, and no program. */
static int find_pickle(const ms_stored *s, const ms_zip *zip, const ms_zip_member **out,
                       msim_error *err) {
    const ms_zip_member *pickle = NULL;
    for (size_t i = 0; i < zip->n_members; i++)
        if (ends_with(&zip->members[i], "/data.pkl")) {
            if (pickle)
                return ms_fail(err, MSIM_E_FORMAT,
                               "not a checkpoint: %s: the archive has several members data.pkl",
                               s->path);
            pickle = &zip->members[i];
        }
    if (!pickle)
        return ms_fail(err, MSIM_E_FORMAT,
                       "not a checkpoint: %s: the archive has no member data.pkl", s->path);
    size_t top = pickle->name_bytes - strlen("data.pkl");
    if (top > 900 || memchr(pickle->name, '/', top - 1))
        return ms_fail(err, MSIM_E_FORMAT,
                       "not a checkpoint: %s: data.pkl is not in a top folder of the archive",
                       s->path);
    for (size_t i = 0; i < zip->n_members; i++) {
        const ms_zip_member *m = &zip->members[i];
        if (m->name_bytes < top || memcmp(m->name, pickle->name, top) != 0)
            return ms_fail(err, MSIM_E_FORMAT,
                           "not a checkpoint: %s: the archive has several top folders", s->path);
        const char *rest = m->name + top;
        size_t n = m->name_bytes - top;
        if ((n >= 5 && memcmp(rest, "code/", 5) == 0) ||
            (n == 13 && memcmp(rest, "constants.pkl", 13) == 0))
            return ms_fail(err, MSIM_E_UNSUPPORTED,
                           "not a checkpoint: %s: this is a TorchScript program; save the state "
                           "dict with torch.save",
                           s->path);
    }
    *out = pickle;
    return MSIM_OK;
}

static int check_byte_order(const ms_stored *s, const ms_zip *zip, const ms_zip_member *pickle,
                            msim_error *err) {
    const ms_zip_member *m = find_in(zip, pickle, "byteorder", 9);
    if (!m) return MSIM_OK;
    int rc = ms_zip_check_crc(m, s->path, err);
    if (rc < 0) return rc;
    if (m->n_bytes == 6 && memcmp(m->data, "little", 6) == 0) return MSIM_OK;
    return ms_fail(err, MSIM_E_UNSUPPORTED, "unsupported byte order: %s: expected little, got %.*s",
                   s->path, (int)(m->n_bytes < 16 ? m->n_bytes : 16), (const char *)m->data);
}

/* Find each storage's member and check its size and CRC. */
static int bind_members(const ms_stored *s, const ms_zip *zip, const ms_zip_member *pickle,
                        ms_torch_state *st, msim_error *err) {
    for (size_t i = 0; i < st->n_storages; i++) {
        ms_torch_storage *storage = &st->storages[i];
        char name[128];
        int n = snprintf(name, sizeof name, "data/%.*s",
                         (int)(storage->key_bytes < 100 ? storage->key_bytes : 100), storage->key);
        const ms_zip_member *m = storage->key_bytes < 100 ? find_in(zip, pickle, name, (size_t)n)
                                                          : NULL;
        if (!m)
            return ms_fail(err, MSIM_E_FORMAT, "bad checkpoint: %s: the archive has no member %s",
                           s->path, name);
        if (m->n_bytes != storage->n_bytes)
            return ms_fail(err, MSIM_E_FORMAT,
                           "bad checkpoint: %s, member %s: expected %zu bytes, got %zu", s->path,
                           name, storage->n_bytes, m->n_bytes);
        int rc = ms_zip_check_crc(m, s->path, err);
        if (rc < 0) return rc;
        storage->data = m->data;
    }
    return MSIM_OK;
}

static int read_zip(ms_stored *s, ms_torch_state *st, msim_error *err) {
    ms_zip zip;
    const ms_zip_member *pickle = NULL;
    int rc = ms_zip_parse(&s->map, s->path, &s->arena, &zip, err);
    if (rc >= 0) rc = find_pickle(s, &zip, &pickle, err);
    if (rc >= 0) rc = check_byte_order(s, &zip, pickle, err);
    if (rc >= 0) rc = ms_zip_check_crc(pickle, s->path, err);
    if (rc < 0) return rc;
    int64_t n = ms_torch_state_read(pickle->data, pickle->n_bytes, s->path, false, st, err);
    if (n < 0) return (int)n;
    if ((size_t)n != pickle->n_bytes)
        return ms_fail(err, MSIM_E_FORMAT, "bad pickle: %s: %zu bytes follow STOP", s->path,
                       pickle->n_bytes - (size_t)n);
    s->container = "pth-zip";
    return bind_members(s, &zip, pickle, st, err);
}

/* ---- Legacy ---------------------------------------------------------------------------------- */

/* What its third pickle says of the machine it was written on. */
typedef struct {
    int little; /* -1: not said */
} system_info;

static int on_info_item(void *user, ms_pickle *p, ms_pickle_value dict, ms_pickle_value key,
                        ms_pickle_value value) {
    system_info *info = user;
    (void)dict;
    if (!ms_pickle_text_is(key, "little_endian")) return MSIM_OK;
    if (value.tag != MS_PICKLE_BOOL)
        return ms_pickle_fail(p, "little_endian: expected a boolean, got %s",
                              ms_pickle_tag_name(value));
    info->little = (int)value.u.number;
    return MSIM_OK;
}

typedef struct {
    ms_pickle_value *keys; /* owned */
    size_t n_keys, keys_cap;
} key_list;

static int on_key(void *user, ms_pickle *p, ms_pickle_value list, ms_pickle_value item) {
    key_list *keys = user;
    (void)list;
    if (item.tag != MS_PICKLE_TEXT)
        return ms_pickle_fail(p, "storage keys: expected texts, got %s", ms_pickle_tag_name(item));
    if (keys->n_keys >= MS_STORED_MAX_TENSORS)
        return ms_pickle_fail(p, "storage keys: there are more than %d", MS_STORED_MAX_TENSORS);
    int rc = ms_pickle_grow(p, (void **)&keys->keys, &keys->keys_cap, keys->n_keys + 1, sizeof item,
                            "storage keys");
    if (rc < 0) return rc;
    keys->keys[keys->n_keys++] = item;
    return MSIM_OK;
}

static ms_torch_storage *storage_of_key(ms_torch_state *st, ms_pickle_value key) {
    for (size_t i = 0; i < st->n_storages; i++)
        if (st->storages[i].key_bytes == key.n &&
            memcmp(st->storages[i].key, key.u.text, key.n) == 0)
            return &st->storages[i];
    return NULL;
}

/* The raw storages behind the pickles, in the order of the keys: a count of eight bytes, then the
 * elements. */
static int bind_stream(const ms_stored *s, size_t at, const key_list *keys, ms_torch_state *st,
                       msim_error *err) {
    for (size_t i = 0; i < keys->n_keys; i++) {
        ms_torch_storage *storage = storage_of_key(st, keys->keys[i]);
        size_t left = s->map.n_bytes - at;
        int64_t n = 0;
        if (!storage || storage->data)
            return ms_fail(err, MSIM_E_FORMAT, "bad checkpoint: %s: storage key %.*s %s", s->path,
                           (int)(keys->keys[i].n < 40 ? keys->keys[i].n : 40), keys->keys[i].u.text,
                           storage ? "appears twice" : "belongs to no tensor");
        if (left >= 8)
            for (int k = 0; k < 8; k++)
                n = (int64_t)((uint64_t)n | (uint64_t)s->map.data[at + (size_t)k] << (8 * k));
        if (left < 8 || n != storage->n || left - 8 < storage->n_bytes)
            return ms_fail(
                err, MSIM_E_FORMAT,
                "bad checkpoint: %s, byte %zu: expected a storage of %lld elements, but %s",
                s->path, at, (long long)storage->n,
                left >= 8 && n != storage->n ? "its count differs" : "the file ends");
        storage->data = s->map.data + at + 8;
        at += 8 + storage->n_bytes;
    }
    for (size_t i = 0; i < st->n_storages; i++)
        if (!st->storages[i].data)
            return ms_fail(err, MSIM_E_FORMAT, "bad checkpoint: %s: a storage has no data",
                           s->path);
    if (at != s->map.n_bytes)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad checkpoint: %s: after the last storage, which ends at byte %zu, there "
                       "are %zu bytes",
                       s->path, at, s->map.n_bytes - at);
    return MSIM_OK;
}

static int read_legacy(ms_stored *s, ms_torch_state *st, key_list *keys, msim_error *err) {
    static const ms_pickle_policy info_policy = {.max_bytes = 65536, .set_item = on_info_item};
    static const ms_pickle_policy key_policy = {.max_bytes = (size_t)1 << 20, .append = on_key};
    const unsigned char *base = s->map.data;
    size_t at = sizeof legacy_magic, n_bytes = s->map.n_bytes;
    system_info info = {.little = -1};
    ms_pickle_value top;
    if (!starts_with(&s->map, at, legacy_version, sizeof legacy_version))
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "unsupported checkpoint: %s: its protocol version is not 1001", s->path);
    at += sizeof legacy_version;
    int64_t n = ms_pickle_read(base + at, n_bytes - at, s->path, &info_policy, &info, &top, err);
    if (n < 0) return (int)n;
    if (info.little != 1)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "unsupported byte order: %s: expected little, got %s", s->path,
                       info.little == 0 ? "big" : "none said");
    at += (size_t)n;
    n = ms_torch_state_read(base + at, n_bytes - at, s->path, true, st, err);
    if (n < 0) return (int)n;
    at += (size_t)n;
    n = ms_pickle_read(base + at, n_bytes - at, s->path, &key_policy, keys, &top, err);
    if (n < 0) return (int)n;
    if (top.tag != MS_PICKLE_LIST)
        return ms_fail(err, MSIM_E_FORMAT,
                       "bad checkpoint: %s: expected a list of storage keys, got %s", s->path,
                       ms_pickle_tag_name(top));
    s->container = "pth-legacy";
    return bind_stream(s, at + (size_t)n, keys, st, err);
}

int ms_torch_read(ms_stored *s, msim_error *err) {
    ms_torch_state st = {0};
    key_list keys = {0};
    int rc = s->map.data[0] == 'P' ? read_zip(s, &st, err) : read_legacy(s, &st, &keys, err);
    if (rc >= 0) rc = ms_torch_state_tensors(&st, s, err);
    ms_free(keys.keys);
    ms_torch_state_free(&st);
    return rc;
}
