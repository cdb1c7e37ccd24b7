/* Writes an index: see write.h and layout.h. */
#define _GNU_SOURCE
#include "notes/build/write.h"
#include "base/file.h"
#include "notes/file/bytes.h"
#include <stdlib.h>
#include <zlib.h>

/* A piece of a source. */
typedef struct {
    uint32_t source, piece;
} piece_place;

typedef struct {
    ms_out_file file;
    ms_notes_tail tail;
    uint64_t at; /* bytes written */
    ms_section_record *section;
    ms_feed *sources; /* borrowed: [n_sources] */
    size_t n_sources;
    piece_place *pieces;     /* owned: [tail.n_pieces], in order */
    uint64_t *keys, *starts; /* owned: of the blocks so far */
    size_t keys_cap, starts_cap;
} writer;

/* ---- Sections ---- */

static void put(writer *w, const void *bytes, size_t n_bytes) {
    if (n_bytes == 0) return;
    ms_out_file_put(&w->file, bytes, n_bytes);
    w->section->crc = (uint32_t)crc32_z(w->section->crc, bytes, n_bytes);
    w->section->n_bytes += n_bytes;
    w->at += n_bytes;
}

static void pad(writer *w) {
    static const uint8_t zeros[MS_SECTION_ALIGN];
    const size_t n = (size_t)(-w->at % MS_SECTION_ALIGN);
    if (n) ms_out_file_put(&w->file, zeros, n);
    w->at += n;
}

static void begin(writer *w, enum ms_section section) {
    pad(w);
    w->section = &w->tail.sections[section];
    *w->section = (ms_section_record){.at = w->at};
}

/* ---- Pieces ---- */

static void view_of(const writer *w, size_t i, ms_piece_view *out) {
    /* Looked at when the source was opened. */
    (void)ms_feed_piece(&w->sources[w->pieces[i].source], w->pieces[i].piece, out);
}

static int by_place(const void *a, const void *b, void *user) {
    const piece_place *x = a, *y = b;
    const writer *w = user;
    ms_piece_view p, q;
    (void)ms_feed_piece(&w->sources[x->source], x->piece, &p);
    (void)ms_feed_piece(&w->sources[y->source], y->piece, &q);
    const int c = ms_run_compare(&p, &q);
    if (c) return c;
    if (x->source != y->source) return x->source < y->source ? -1 : 1;
    return (x->piece > y->piece) - (x->piece < y->piece);
}

/* Order the pieces, leave out what is there twice, and number their notes. */
static int order_pieces(writer *w, msim_error *err) {
    size_t n = 0, kept = 0;
    uint64_t note = 0;
    for (size_t s = 0; s < w->n_sources; s++) n += (size_t)w->sources[s].n_pieces;
    w->pieces = ms_alloc(n, sizeof *w->pieces, "pieces", err);
    if (!w->pieces) return -MSIM_E_MEMORY;
    n = 0;
    for (size_t s = 0; s < w->n_sources; s++)
        for (uint64_t p = 0; p < w->sources[s].n_pieces; p++)
            if (w->sources[s].new_first[p] != UINT64_MAX)
                w->pieces[n++] = (piece_place){(uint32_t)s, (uint32_t)p};
    qsort_r(w->pieces, n, sizeof *w->pieces, by_place, w);
    for (size_t i = 0; i < n; i++) {
        ms_piece_view view, last;
        uint64_t *first = &w->sources[w->pieces[i].source].new_first[w->pieces[i].piece];
        view_of(w, i, &view);
        if (kept > 0) view_of(w, kept - 1, &last);
        if (kept > 0 && ms_run_compare(&last, &view) == 0) {
            *first = UINT64_MAX;
            continue;
        }
        *first = note;
        note += view.n_notes;
        w->pieces[kept++] = w->pieces[i];
    }
    if (kept > UINT32_MAX || note > UINT64_C(1) << 40)
        return ms_fail(err, MSIM_E_LIMIT,
                       "note index: expected at most 2^32 pieces and 2^40 notes");
    w->tail.n_pieces = kept;
    w->tail.n_notes = note;
    return MSIM_OK;
}

static void put_records(writer *w) {
    ms_piece_record r;
    ms_piece_view v;
    uint64_t name_at = 0, details_at = 0, note = 0;
    begin(w, MS_SECTION_PIECES);
    for (size_t i = 0; i < w->tail.n_pieces; i++) {
        view_of(w, i, &v);
        r = (ms_piece_record){.name_at = name_at,
                              .details_at = details_at,
                              .first_note = note,
                              .digest = v.digest,
                              .name_bytes = (uint32_t)v.name_bytes,
                              .n_notes = (uint32_t)v.n_notes,
                              .details_bytes = (uint32_t)v.details_bytes,
                              .length_ms = v.length_ms};
        memcpy(r.content, v.content, sizeof r.content);
        put(w, &r, sizeof r);
        name_at += v.name_bytes;
        details_at += v.details_bytes;
        note += v.n_notes;
    }
    begin(w, MS_SECTION_NAMES);
    for (size_t i = 0; i < w->tail.n_pieces; i++) {
        view_of(w, i, &v);
        put(w, v.name, v.name_bytes);
    }
}

typedef struct {
    uint64_t digest;
    uint32_t piece;
} piece_digest;

static int by_digest(const void *a, const void *b) {
    const piece_digest *x = a, *y = b;
    if (x->digest != y->digest) return x->digest < y->digest ? -1 : 1;
    return (x->piece > y->piece) - (x->piece < y->piece);
}

static int put_digests(writer *w, msim_error *err) {
    const size_t n = (size_t)w->tail.n_pieces;
    piece_digest *digests = ms_alloc(n, sizeof *digests, "pieces", err);
    if (!digests) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        ms_piece_view v;
        view_of(w, i, &v);
        digests[i] = (piece_digest){v.digest, (uint32_t)i};
    }
    qsort(digests, n, sizeof *digests, by_digest);
    begin(w, MS_SECTION_DIGESTS);
    for (size_t i = 0; i < n; i++) put(w, &digests[i].piece, 4);
    ms_free(digests);
    return MSIM_OK;
}

static void put_notes(writer *w) {
    ms_piece_view v;
    uint64_t note = 0, range = 0;
    begin(w, MS_SECTION_RANGES);
    for (size_t i = 0; i < w->tail.n_pieces; i++) {
        const uint32_t piece = (uint32_t)i;
        view_of(w, i, &v);
        note += v.n_notes;
        for (; range * MS_RANGE_NOTES < note; range++) put(w, &piece, sizeof piece);
    }
    begin(w, MS_SECTION_PITCHES);
    for (size_t i = 0; i < w->tail.n_pieces; i++) {
        view_of(w, i, &v);
        put(w, v.pitches, v.n_notes);
    }
    begin(w, MS_SECTION_DETAILS);
    for (size_t i = 0; i < w->tail.n_pieces; i++) {
        view_of(w, i, &v);
        put(w, v.details, v.details_bytes);
    }
}

/* ---- Postings ---- */

static bool is_before(const ms_feed *a, const ms_feed *b) {
    if (a->next.key != b->next.key) return a->next.key < b->next.key;
    return a->next.value < b->next.value;
}

/* A heap of sources that have a next posting, the least one first. */
static void sift(ms_feed **heap, size_t n, size_t i) {
    for (;;) {
        size_t least = i;
        for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < n; c++)
            if (is_before(heap[c], heap[least])) least = c;
        if (least == i) return;
        ms_feed *swap = heap[i];
        heap[i] = heap[least];
        heap[least] = swap;
        i = least;
    }
}

static int put_block(writer *w, const ms_posting *block, size_t n, unsigned width,
                     msim_error *err) {
    uint8_t bytes[MS_BLOCK_MAX_BYTES];
    const size_t b = (size_t)w->tail.n_blocks++;
    int rc = ms_grow((void **)&w->keys, &w->keys_cap, b + 1, sizeof *w->keys, "postings", err);
    if (rc >= 0)
        rc =
            ms_grow((void **)&w->starts, &w->starts_cap, b + 2, sizeof *w->starts, "postings", err);
    if (rc < 0) return rc;
    w->keys[b] = block[0].key;
    w->starts[b] = w->section->n_bytes;
    put(w, bytes, ms_block_put(block, n, width, bytes));
    w->starts[b + 1] = w->section->n_bytes;
    w->tail.n_postings += n;
    return MSIM_OK;
}

static int merge_postings(writer *w, ms_feed **heap, size_t n, msim_error *err) {
    const unsigned width = ms_index_width(w->tail.n_notes);
    ms_posting block[MS_BLOCK];
    size_t filled = 0;
    int rc = MSIM_OK;
    for (size_t i = n; i-- > 0;) sift(heap, n, i);
    while (n > 0 && rc >= 0) {
        block[filled++] = heap[0]->next;
        if (filled == MS_BLOCK) {
            rc = put_block(w, block, filled, width, err);
            filled = 0;
        }
        if (rc >= 0) rc = ms_feed_next(heap[0], err);
        if (heap[0]->is_at_end) heap[0] = heap[--n];
        sift(heap, n, 0);
    }
    return filled && rc >= 0 ? put_block(w, block, filled, width, err) : rc;
}

static int put_postings(writer *w, msim_error *err) {
    ms_feed **heap = ms_alloc(w->n_sources, sizeof *heap, "sources", err);
    size_t n = 0;
    int rc = heap ? MSIM_OK : -MSIM_E_MEMORY;
    begin(w, MS_SECTION_POSTINGS);
    for (size_t s = 0; s < w->n_sources && rc >= 0; s++) {
        rc = ms_feed_next(&w->sources[s], err);
        if (!w->sources[s].is_at_end) heap[n++] = &w->sources[s];
    }
    if (rc >= 0) rc = merge_postings(w, heap, n, err);
    ms_free(heap);
    if (rc < 0) return rc;
    static const uint64_t none;
    begin(w, MS_SECTION_KEYS);
    put(w, w->keys, (size_t)w->tail.n_blocks * 8);
    begin(w, MS_SECTION_STARTS);
    put(w, w->starts ? w->starts : &none, ((size_t)w->tail.n_blocks + 1) * 8);
    return MSIM_OK;
}

/* ---- The file ---- */

static void put_head(writer *w) {
    uint8_t head[MS_HEAD_BYTES] = {0};
    const uint32_t version = MS_NOTES_VERSION;
    memcpy(head, MS_NOTES_MAGIC, 8);
    memcpy(head + 8, &version, 4);
    ms_out_file_put(&w->file, head, sizeof head);
    w->at = sizeof head;
}

static void put_tail(writer *w, int density, int has_bottom) {
    pad(w);
    ms_index_constants(&w->tail, density, has_bottom);
    w->tail.file_bytes = w->at + MS_TAIL_BYTES;
    w->tail.crc = (uint32_t)crc32_z(0, (const Bytef *)&w->tail, MS_TAIL_BYTES - 4);
    ms_out_file_put(&w->file, &w->tail, sizeof w->tail);
}

static int write_all(writer *w, const char *path, int density, int has_bottom, msim_error *err) {
    int rc = order_pieces(w, err);
    if (rc >= 0) rc = ms_out_file_open(&w->file, path, "", (size_t)1 << 20, err);
    if (rc < 0) return rc;
    put_head(w);
    put_records(w);
    rc = put_digests(w, err);
    if (rc < 0) return rc;
    put_notes(w);
    rc = put_postings(w, err);
    if (rc < 0) return rc;
    put_tail(w, density, has_bottom);
    return ms_out_file_finish(&w->file, err);
}

int ms_notes_write(const char *path, ms_feed *sources, size_t n_sources, int density,
                   int has_bottom, msim_error *err) {
    writer w = {.sources = sources, .n_sources = n_sources};
    w.file.fd = -1;
    int rc = write_all(&w, path, density, has_bottom, err);
    ms_out_file_close(&w.file);
    ms_free(w.pieces);
    ms_free(w.keys);
    ms_free(w.starts);
    return rc;
}
