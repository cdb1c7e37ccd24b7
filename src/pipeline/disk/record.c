/* Records of the journal. See pipeline/disk/record.h. */
#define _GNU_SOURCE
#include "pipeline/disk/record.h"
#include <string.h>

#define RECORD_MAX ((uint64_t)64 << 20) /* bytes of a block: no record is larger */

typedef struct {
    uint8_t kind, reason;
    uint16_t detail_bytes;
    uint32_t bytes; /* of the record, a multiple of 8 */
    int64_t a, b;   /* content: tokens, full length; file: size, time */
    unsigned char hash[MS_JOURNAL_HASH];
    uint32_t path_bytes; /* content: windows; 0: one row of the whole piece */
    uint32_t name_at;    /* content: HAS_BARS, or 0 as in journals of older versions */
} record_head;

enum { HAS_BARS = 1 };

_Static_assert(sizeof(record_head) == MS_RECORD_HEAD, "as documented");

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

/* ---- Sizes ---- */

static bool has_vectors(const record_head *h) {
    return h->kind == MS_JOURNAL_CONTENT && h->reason == MSIM_SKIP_NONE;
}

static uint32_t windows_of(const record_head *h) {
    return h->kind == MS_JOURNAL_CONTENT ? h->path_bytes : 0;
}

static size_t spans_bytes(uint32_t n_windows) { return n_windows * sizeof(ms_stored_span); }

static bool has_bars(const record_head *h) { return windows_of(h) > 0 && h->name_at == HAS_BARS; }

static size_t bars_bytes(const record_head *h) {
    return has_bars(h) ? windows_of(h) * sizeof(ms_stored_bars) : 0;
}

static size_t vectors_bytes(ms_record_shape s, const record_head *h) {
    uint32_t n = windows_of(h);
    return has_vectors(h) ? (n ? n : 1) * s.dim * sizeof(float) : 0;
}

static size_t path_bytes(const record_head *h) {
    return h->kind == MS_JOURNAL_CONTENT ? 0 : h->path_bytes;
}

int64_t ms_journal_windows_most(int64_t dim) {
    return (int64_t)(RECORD_MAX / 2 / (sizeof(ms_stored_span) + (size_t)dim * sizeof(float)));
}

/* A content has windows when the settings ask for them, and when it gives rows at all. */
static bool may_have_windows(ms_record_shape s, const record_head *h) {
    bool wants = has_vectors(h) && s.has_windows;
    return wants == (windows_of(h) > 0) && windows_of(h) <= ms_journal_windows_most((int64_t)s.dim);
}

/* The bytes of a record with this head; 0 when this is no head of a record. */
static size_t bytes_of(ms_record_shape s, const record_head *h) {
    if (h->kind < MS_JOURNAL_CONTENT || h->kind > MS_JOURNAL_NOTES || h->reason >= MSIM_SKIP_COUNT)
        return 0;
    if (!may_have_windows(s, h)) return 0;
    if (h->path_bytes > RECORD_MAX || (h->name_at > path_bytes(h) && !has_bars(h))) return 0;
    return padded(sizeof *h + spans_bytes(windows_of(h)) + vectors_bytes(s, h) + bars_bytes(h) +
                  path_bytes(h) + h->detail_bytes);
}

/* ---- Writing ---- */

static record_head head_of(ms_record_shape s, const ms_journal_record *r) {
    bool is_file = r->kind == MS_JOURNAL_FILE;
    record_head h = {.kind = (uint8_t)r->kind,
                     .reason = (uint8_t)r->reason,
                     .detail_bytes = r->detail_len,
                     .a = is_file ? r->bytes : r->n_tokens,
                     .b = is_file ? r->mtime_ns : r->full_length,
                     .path_bytes = r->kind == MS_JOURNAL_CONTENT ? r->n_windows : r->path_len,
                     .name_at = is_file   ? r->name_at
                                : r->bars ? HAS_BARS
                                          : 0};
    memcpy(h.hash, r->hash, sizeof h.hash);
    h.bytes = (uint32_t)bytes_of(s, &h);
    return h;
}

size_t ms_record_bytes(ms_record_shape s, const ms_journal_record *r) {
    return head_of(s, r).bytes;
}

/* Copy n bytes (maybe 0) to `to`. Returns where the next bytes go. */
static unsigned char *append(unsigned char *to, const void *from, size_t n) {
    if (n) memcpy(to, from, n);
    return to + n;
}

void ms_record_write(ms_record_shape s, const ms_journal_record *r, unsigned char *to) {
    record_head h = head_of(s, r);
    memset(to + h.bytes - 8, 0, 8);
    to = append(to, &h, sizeof h);
    to = append(to, r->spans, spans_bytes(windows_of(&h)));
    to = append(to, r->vectors, vectors_bytes(s, &h));
    to = append(to, r->bars, bars_bytes(&h));
    to = append(to, r->path, path_bytes(&h));
    (void)append(to, r->detail, r->detail_len);
}

/* ---- Reading ---- */

/* The spans of one content are those of one piece, in order; its bars can be some. */
static bool has_good_places(const ms_journal_record *r) {
    for (uint32_t i = 0; r->bars && i < r->n_windows; i++)
        if (!ms_bars_are_valid(r->bars + i)) return false;
    for (uint32_t i = 0; i < r->n_windows; i++)
        if (r->spans[i].window != i ||
            !ms_span_may_follow(r->spans + i, i ? r->spans + i - 1 : NULL))
            return false;
    return true;
}

size_t ms_record_read(ms_record_shape s, const unsigned char *from, size_t n,
                      ms_journal_record *out) {
    record_head h = {0};
    if (n >= sizeof h) memcpy(&h, from, sizeof h);
    size_t need = bytes_of(s, &h);
    if (need == 0 || need != h.bytes || need > n) return 0;
    const unsigned char *spans = from + sizeof h, *vectors = spans + spans_bytes(windows_of(&h));
    const unsigned char *bars = vectors + vectors_bytes(s, &h);
    const char *text = (const char *)bars + bars_bytes(&h);
    *out = (ms_journal_record){.kind = h.kind,
                               .reason = h.reason,
                               .path = text,
                               .path_len = (uint32_t)path_bytes(&h),
                               .name_at = h.kind == MS_JOURNAL_CONTENT ? 0 : h.name_at,
                               .detail = text + path_bytes(&h),
                               .detail_len = h.detail_bytes,
                               .n_windows = windows_of(&h)};
    memcpy(out->hash, h.hash, sizeof out->hash);
    /* blocks keep 8 bytes' alignment, and all that stands before a part is in fours of bytes */
    if (out->n_windows) out->spans = (const ms_stored_span *)(const void *)spans;
    if (has_bars(&h)) out->bars = (const ms_stored_bars *)(const void *)bars;
    if (has_vectors(&h)) out->vectors = (const float *)(const void *)vectors;
    *(h.kind == MS_JOURNAL_FILE ? &out->bytes : &out->n_tokens) = h.a;
    *(h.kind == MS_JOURNAL_FILE ? &out->mtime_ns : &out->full_length) = h.b;
    return has_good_places(out) ? need : 0;
}

/* ---- Places ---- */

size_t ms_record_span_at(uint32_t row) { return sizeof(record_head) + spans_bytes(row); }

size_t ms_record_vector_at(ms_record_shape s, uint32_t n_windows, uint32_t row) {
    return sizeof(record_head) + spans_bytes(n_windows) + row * s.dim * sizeof(float);
}

size_t ms_record_bars_at(ms_record_shape s, const unsigned char head[MS_RECORD_HEAD],
                         uint32_t row) {
    record_head h;
    memcpy(&h, head, sizeof h);
    if (!has_bars(&h) || row >= windows_of(&h)) return 0;
    return sizeof h + spans_bytes(windows_of(&h)) + vectors_bytes(s, &h) +
           row * sizeof(ms_stored_bars);
}

size_t ms_record_detail_at(ms_record_shape s, const unsigned char head[MS_RECORD_HEAD],
                           size_t *n_detail) {
    record_head h;
    memcpy(&h, head, sizeof h);
    *n_detail = h.detail_bytes;
    return sizeof h + spans_bytes(windows_of(&h)) + vectors_bytes(s, &h) + bars_bytes(&h) +
           path_bytes(&h);
}

size_t ms_record_notes_bytes(const unsigned char head[MS_RECORD_HEAD]) {
    record_head h;
    memcpy(&h, head, sizeof h);
    return h.kind == MS_JOURNAL_NOTES && h.path_bytes <= MS_JOURNAL_NOTES_MOST ? h.path_bytes : 0;
}
