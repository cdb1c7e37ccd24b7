/* A list that is sent to all ranks: pipeline/input/sent.h. */
#include "pipeline/input/sent.h"
#include "base/mem.h"
#include <string.h>

#define CHUNK ((size_t)4 << 20) /* bytes sent at a time */

/* An entry on its way; its path with a final NUL follows. */
typedef struct {
    int64_t bytes, mtime_ns;
    uint32_t path_bytes, name_at, name_len, relative_at;
    bool is_named;
} packed_entry;

static void make_room(ms_sent *s, size_t n) {
    if (!s->failed.code)
        (void)ms_grow((void **)&s->bytes, &s->cap, n, 1, "list of files", &s->failed);
}

/* All ranks get what rank 0 has put. False at the end, and when any rank is out of memory: all
 * ranks go on or none does. */
static bool send_chunk(ms_sent *s) {
    const msim_ranks *ranks = s->ranks;
    int64_t n = (int64_t)s->n;
    ranks->broadcast(ranks->user, 0, &n, sizeof n);
    make_room(s, (size_t)n);
    if (ranks->agree(ranks->user, -s->failed.code, &s->failed) < 0) return false;
    if (n) ranks->broadcast(ranks->user, 0, s->bytes, (size_t)n);
    s->n = ranks->index == 0 ? 0 : (size_t)n;
    return n > 0;
}

void ms_sent_put(ms_sent *s, const void *bytes, size_t n) {
    make_room(s, s->n + n);
    if (s->failed.code) return;
    memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
}

bool ms_sent_step(ms_sent *s) { return (s->n < CHUNK && !s->failed.code) || send_chunk(s); }

void ms_sent_end(ms_sent *s) {
    if (s->n && !send_chunk(s)) return;
    (void)send_chunk(s);
}

bool ms_sent_next(ms_sent *s) { return send_chunk(s); }

int ms_sent_close(ms_sent *s, msim_error *err) {
    ms_free(s->bytes);
    s->bytes = NULL;
    return s->failed.code ? ms_fail(err, s->failed.code, "%s", s->failed.text) : 0;
}

/* ---- Entries ---- */

void ms_sent_put_entry(ms_sent *s, const ms_files_entry *e) {
    packed_entry packed = {.bytes = e->bytes,
                           .mtime_ns = e->mtime_ns,
                           .path_bytes = (uint32_t)strlen(e->path) + 1,
                           .name_at = e->name_at,
                           .name_len = e->name_len,
                           .relative_at = e->relative_at,
                           .is_named = e->is_named};
    ms_sent_put(s, &packed, sizeof packed);
    ms_sent_put(s, e->path, packed.path_bytes);
}

void ms_sent_get_entries(ms_sent *s, ms_files_list *list) {
    packed_entry packed;
    ms_files_entry *e;
    for (size_t at = 0; at < s->n; at += sizeof packed + packed.path_bytes) {
        memcpy(&packed, s->bytes + at, sizeof packed);
        if (ms_files_list_add(list, (const char *)s->bytes + at + sizeof packed, &e, &s->failed) <
            0)
            return;
        e->name_at = packed.name_at;
        e->name_len = packed.name_len;
        e->relative_at = packed.relative_at;
        e->is_named = packed.is_named;
        e->bytes = packed.bytes;
        e->mtime_ns = packed.mtime_ns;
        e->reason = MSIM_SKIP_NONE;
    }
}
