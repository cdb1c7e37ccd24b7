/* The central directory of a zip archive: see zip_dir.h. Sizes and CRCs in local headers are not
 * used, because PyTorch leaves them zero and writes data descriptors. Zip64 records are read if
 * there are any. */
#include "checkpoint/zip_dir.h"
#include "base/text/order.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    MAX_COMMENT = 65535
};

typedef struct {
    const unsigned char *base; /* the file */
    size_t n_bytes;
    const char *path;
    msim_error *err;
    size_t dir_at, dir_bytes, n_entries;
} zip_reader;

static uint64_t get_le(const unsigned char *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static int bad(const zip_reader *r, const char *what, unsigned long long at) {
    return ms_fail(r->err, MSIM_E_FORMAT, "bad zip archive: %s: byte %llu: %s", r->path, at, what);
}

/* The zip64 end record, when a locator stands before the ordinary one at `end`. *limit is where the
 * directory must end. */
static int read_end64(zip_reader *r, size_t end, uint64_t *n, uint64_t *size, uint64_t *at,
                      size_t *limit) {
    if (end < LOCATOR_BYTES || memcmp(r->base + end - LOCATOR_BYTES, "PK\6\7", 4) != 0) return 0;
    size_t locator = end - LOCATOR_BYTES;
    uint64_t record = get_le(r->base + locator + 8, 8);
    if (get_le(r->base + locator + 4, 4) != 0)
        return bad(r, "the archive spans several disks", locator);
    if (locator < END64_BYTES || record > locator - END64_BYTES ||
        memcmp(r->base + record, "PK\6\6", 4) != 0)
        return bad(r, "there is no zip64 end record here", record);
    const unsigned char *p = r->base + record;
    if (get_le(p + 16, 4) != 0 || get_le(p + 20, 4) != 0 || get_le(p + 24, 8) != get_le(p + 32, 8))
        return bad(r, "the archive spans several disks", record);
    *n = get_le(p + 32, 8);
    *size = get_le(p + 40, 8);
    *at = get_le(p + 48, 8);
    *limit = (size_t)record;
    return 1;
}

/* Find the end record (its comment must reach exactly to the end of the file) and the directory's
 * place. */
static int find_directory(zip_reader *r) {
    if (r->n_bytes < END_BYTES)
        return bad(r, "truncated: the file is too short for an end record", r->n_bytes);
    size_t end = r->n_bytes - END_BYTES, lowest = end > MAX_COMMENT ? end - MAX_COMMENT : 0;
    for (;; end--) {
        const unsigned char *p = r->base + end;
        if (memcmp(p, "PK\5\6", 4) == 0 && get_le(p + 20, 2) == r->n_bytes - end - END_BYTES) break;
        if (end == lowest) return bad(r, "truncated: there is no end record", r->n_bytes);
    }
    const unsigned char *p = r->base + end;
    uint64_t n = get_le(p + 10, 2), size = get_le(p + 12, 4), at = get_le(p + 16, 4);
    uint64_t n32 = n, size32 = size, at32 = at;
    size_t limit = end;
    if (get_le(p + 4, 2) != 0 || get_le(p + 6, 2) != 0 || get_le(p + 8, 2) != n)
        return bad(r, "the archive spans several disks", end);
    int rc = read_end64(r, end, &n, &size, &at, &limit);
    if (rc < 0) return rc;
    if (rc > 0 && ((n32 != 0xffff && n32 != n) || (size32 != 0xffffffff && size32 != size) ||
                   (at32 != 0xffffffff && at32 != at)))
        return bad(r, "the two end records differ", end);
    if (at > limit || size > limit - at)
        return bad(r, "the directory does not lie inside the file", end);
    if (n > 65535 || n > size / ENTRY_BYTES)
        return bad(r, "the directory has no room for its number of entries", end);
    r->dir_at = (size_t)at;
    r->dir_bytes = (size_t)size;
    r->n_entries = (size_t)n;
    return MSIM_OK;
}

/* Replace sizes of 0xffffffff by those of the zip64 extra field (id 1), which holds only what is
 * needed, in order. */
static int read_extra64(const zip_reader *r, const unsigned char *extra, size_t n,
                        uint64_t *values[3], size_t at) {
    bool needed = *values[0] == 0xffffffff || *values[1] == 0xffffffff || *values[2] == 0xffffffff;
    while (needed && n >= 4) {
        size_t id = get_le(extra, 2), size = get_le(extra + 2, 2);
        if (size > n - 4) break;
        if (id == 1) {
            const unsigned char *p = extra + 4, *end = p + size;
            for (int i = 0; i < 3; i++) {
                if (*values[i] != 0xffffffff) continue;
                if (end - p < 8) return bad(r, "the zip64 field ends before its sizes", at);
                *values[i] = get_le(p, 8);
                p += 8;
            }
            return MSIM_OK;
        }
        extra += 4 + size;
        n -= 4 + size;
    }
    return needed ? bad(r, "a zip64 field is missing", at) : MSIM_OK;
}

/* Relative, with no step upwards: nothing here writes members out, but such an archive is not a
 * checkpoint. */
static bool is_safe_name(const char *name, size_t n) {
    if (n == 0 || name[0] == '/' || memchr(name, '\\', n) || memchr(name, 0, n)) return false;
    for (size_t i = 0, start = 0; i <= n; i++)
        if (i == n || name[i] == '/') {
            if (i - start == 2 && memcmp(name + start, "..", 2) == 0) return false;
            start = i + 1;
        }
    return true;
}

/* The local header gives only where the data begin. */
static int locate(const zip_reader *r, ms_zip_member *m, uint64_t header, uint64_t size,
                  size_t at) {
    if (header > r->dir_at || r->dir_at - header < LOCAL_BYTES ||
        memcmp(r->base + header, "PK\3\4", 4) != 0)
        return bad(r, "the member has no local header before the directory", at);
    const unsigned char *p = r->base + header;
    size_t name = get_le(p + 26, 2), skip = LOCAL_BYTES + name + get_le(p + 28, 2);
    if (skip > r->dir_at - header || size > r->dir_at - header - skip)
        return bad(r, "truncated: the member does not end before the directory", header);
    if (name != m->name_bytes || memcmp(p + LOCAL_BYTES, m->name, name) != 0)
        return bad(r, "directory and local header give different names", header);
    m->header_at = (size_t)header;
    m->data = p + skip;
    m->n_bytes = (size_t)size;
    return MSIM_OK;
}

/* One directory entry at *at; moves *at behind it. */
static int read_entry(const zip_reader *r, size_t *at, size_t end, ms_zip_member *m) {
    if (end - *at < ENTRY_BYTES)
        return bad(r, "truncated: the directory ends inside an entry", *at);
    const unsigned char *p = r->base + *at;
    size_t name = get_le(p + 28, 2), extra = get_le(p + 30, 2), comment = get_le(p + 32, 2);
    if (memcmp(p, "PK\1\2", 4) != 0) return bad(r, "there is no directory entry here", *at);
    if (name + extra + comment > end - *at - ENTRY_BYTES)
        return bad(r, "truncated: the directory ends inside an entry", *at);
    if (get_le(p + 8, 2) & 0x2041) return bad(r, "the member is encrypted", *at);
    if (get_le(p + 10, 2) != 0)
        return bad(r, "the member is compressed; only stored members are read", *at);
    if (get_le(p + 34, 2) != 0) return bad(r, "the archive spans several disks", *at);
    m->crc = (uint32_t)get_le(p + 16, 4);
    m->name = (const char *)p + ENTRY_BYTES;
    m->name_bytes = name;
    if (!is_safe_name(m->name, name))
        return bad(r, "the name is not a relative path inside the archive", *at);
    uint64_t packed = get_le(p + 20, 4), size = get_le(p + 24, 4), header = get_le(p + 42, 4);
    uint64_t *wide[3] = {&size, &packed, &header};
    int rc = read_extra64(r, p + ENTRY_BYTES + name, extra, wide, *at);
    if (rc < 0) return rc;
    if (size != packed) return bad(r, "a stored member has two different sizes", *at);
    rc = locate(r, m, header, size, *at);
    *at += ENTRY_BYTES + name + extra + comment;
    return rc;
}

static int by_place(const void *a, const void *b) {
    size_t x = ((const ms_zip_member *)a)->header_at, y = ((const ms_zip_member *)b)->header_at;
    return x < y ? -1 : x > y;
}

static int by_name(const void *a, const void *b) {
    const ms_zip_member *x = a, *y = b;
    return ms_text_compare(x->name, x->name_bytes, y->name, y->name_bytes);
}

int ms_zip_parse(const ms_map *map, const char *path, ms_arena *arena, ms_zip *out,
                 msim_error *err) {
    zip_reader r = {.base = map->data, .n_bytes = map->n_bytes, .path = path, .err = err};
    int rc = find_directory(&r);
    if (rc < 0) return rc;
    ms_zip_member *m = ms_arena_get(arena, r.n_entries, sizeof *m, "zip directory", err);
    if (!m) return -MSIM_E_MEMORY;
    size_t at = r.dir_at, end = r.dir_at + r.dir_bytes;
    for (size_t i = 0; i < r.n_entries; i++) {
        rc = read_entry(&r, &at, end, &m[i]);
        if (rc < 0) return rc;
    }
    if (at != end) return bad(&r, "bytes follow the last entry of the directory", at);
    qsort(m, r.n_entries, sizeof *m, by_place);
    for (size_t i = 1; i < r.n_entries; i++)
        if (m[i].header_at < (size_t)(m[i - 1].data - map->data) + m[i - 1].n_bytes)
            return bad(&r, "two members overlap", m[i].header_at);
    qsort(m, r.n_entries, sizeof *m, by_name);
    for (size_t i = 1; i < r.n_entries; i++)
        if (by_name(&m[i - 1], &m[i]) == 0)
            return bad(&r, "two members have the same name", m[i].header_at);
    out->members = m;
    out->n_members = r.n_entries;
    return MSIM_OK;
}

const ms_zip_member *ms_zip_find(const ms_zip *zip, const char *name, size_t name_bytes) {
    size_t low = 0, high = zip->n_members;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c =
            ms_text_compare(zip->members[mid].name, zip->members[mid].name_bytes, name, name_bytes);
        if (c == 0) return &zip->members[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

int ms_zip_check_crc(const ms_zip_member *m, const char *path, msim_error *err) {
    if (m->crc == 0) return MSIM_OK;
    uint32_t got = (uint32_t)crc32_z(crc32_z(0, NULL, 0), m->data, m->n_bytes);
    if (got == m->crc) return MSIM_OK;
    return ms_fail(err, MSIM_E_FORMAT,
                   "bad zip archive: %s, member %.*s: expected CRC-32 %08x, got %08x", path,
                   (int)(m->name_bytes < 120 ? m->name_bytes : 120), m->name, (unsigned)m->crc,
                   (unsigned)got);
}
