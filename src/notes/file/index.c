/* An index that is open: see index.h. Opening checks the tail; what the sections hold is checked
 * where it is used, so that opening a large index costs nothing. */
#include "notes/file/index.h"
#include "base/sized.h"
#include "base/text/order.h"
#include "notes/file/bytes.h"
#include "notes/file/details.h"
#include <stdlib.h>
#include <zlib.h>

unsigned ms_index_width(uint64_t n_notes) {
    return ms_bits_for(n_notes ? n_notes - 1 : 0) + MS_SPAN_BITS;
}

int ms_index_damaged(const msim_notes *notes, const char *what, msim_error *err) {
    return ms_fail(err, MSIM_E_FORMAT, "note index %s: damaged: %s; build it again",
                   notes->map.path, what);
}

void ms_index_constants(ms_notes_tail *tail, int density, int has_bottom) {
    memcpy(tail->magic, MS_NOTES_MAGIC, sizeof tail->magic);
    tail->version = MS_NOTES_VERSION;
    tail->tail_bytes = MS_TAIL_BYTES;
    tail->chord_ms = MS_CHORD_MS;
    tail->sounding_ms = MS_SOUNDING_MS;
    tail->intervals = MS_INTERVALS;
    tail->interval_bits = MS_INTERVAL_BITS;
    tail->least_intervals = MS_LEAST_INTERVALS;
    tail->same_intervals = MS_SAME_INTERVALS;
    tail->common_intervals = MS_COMMON_INTERVALS;
    tail->common_max = MS_COMMON_MAX;
    tail->span_bits = MS_SPAN_BITS;
    tail->density = (uint8_t)density;
    tail->has_bottom = (uint8_t)has_bottom;
    tail->block = MS_BLOCK;
}

/* ---- Opening ---- */

static int check_tail(const msim_notes *notes, msim_error *err) {
    const ms_notes_tail *t = &notes->tail;
    ms_notes_tail expected = *t;
    if (t->version != MS_NOTES_VERSION)
        return ms_fail(err, MSIM_E_UNSUPPORTED, "note index %s: expected version %d, got %u",
                       notes->map.path, MS_NOTES_VERSION, t->version);
    if (crc32_z(0, (const Bytef *)t, MS_TAIL_BYTES - 4) != t->crc)
        return ms_index_damaged(notes, "the checksum of its tail", err);
    ms_index_constants(&expected, t->density, t->has_bottom);
    if (memcmp(&expected, t, sizeof expected) != 0 || t->density < 1 || t->has_bottom > 1)
        return ms_fail(err, MSIM_E_UNSUPPORTED,
                       "note index %s: made with other constants; build it again", notes->map.path);
    if (t->file_bytes != notes->map.n_bytes) return ms_index_damaged(notes, "its size", err);
    if (t->n_pieces > UINT32_MAX || t->n_notes > UINT64_C(1) << 40 ||
        t->n_postings > UINT64_C(1) << 48 ||
        t->n_blocks != (t->n_postings + MS_BLOCK - 1) / MS_BLOCK)
        return ms_index_damaged(notes, "its counts", err);
    return MSIM_OK;
}

/* What a section must have as its size; UINT64_MAX: any. */
static uint64_t section_bytes(const ms_notes_tail *t, int section) {
    switch (section) {
    case MS_SECTION_PIECES: return t->n_pieces * sizeof(ms_piece_record);
    case MS_SECTION_DIGESTS: return t->n_pieces * 4;
    case MS_SECTION_RANGES: return (t->n_notes + MS_RANGE_NOTES - 1) / MS_RANGE_NOTES * 4;
    case MS_SECTION_PITCHES: return t->n_notes;
    case MS_SECTION_KEYS: return t->n_blocks * 8;
    case MS_SECTION_STARTS: return (t->n_blocks + 1) * 8;
    default: return UINT64_MAX;
    }
}

static int find_sections(msim_notes *notes, msim_error *err) {
    const void *found[MS_SECTIONS];
    const uint64_t end = notes->map.n_bytes - MS_TAIL_BYTES;
    for (int s = 0; s < MS_SECTIONS; s++) {
        const ms_section_record *r = &notes->tail.sections[s];
        const uint64_t expected = section_bytes(&notes->tail, s);
        if (r->at < MS_HEAD_BYTES || r->at % MS_SECTION_ALIGN || r->at > end ||
            r->n_bytes > end - r->at || (expected != UINT64_MAX && r->n_bytes != expected))
            return ms_index_damaged(notes, "the place of a section", err);
        found[s] = notes->map.data + r->at;
    }
    notes->pieces = found[MS_SECTION_PIECES];
    notes->names = found[MS_SECTION_NAMES];
    notes->digests = found[MS_SECTION_DIGESTS];
    notes->ranges = found[MS_SECTION_RANGES];
    notes->pitches = found[MS_SECTION_PITCHES];
    notes->details = found[MS_SECTION_DETAILS];
    notes->postings = found[MS_SECTION_POSTINGS];
    notes->keys = found[MS_SECTION_KEYS];
    notes->starts = found[MS_SECTION_STARTS];
    return MSIM_OK;
}

static int open_file(msim_notes *notes, const char *path, msim_error *err) {
    int rc = ms_map_open(path, MS_MAP_RANDOM, &notes->map, err);
    if (rc < 0) return rc;
    if (notes->map.n_bytes < MS_HEAD_BYTES + MS_TAIL_BYTES ||
        memcmp(notes->map.data, MS_NOTES_MAGIC, 8) != 0)
        return ms_fail(err, MSIM_E_FORMAT, "%s: this is no note index; midisim-index makes one",
                       path);
    memcpy(&notes->tail, notes->map.data + notes->map.n_bytes - MS_TAIL_BYTES, MS_TAIL_BYTES);
    if (memcmp(notes->tail.magic, MS_NOTES_MAGIC, 8) != 0)
        return ms_index_damaged(notes, "it was cut short", err);
    rc = check_tail(notes, err);
    if (rc >= 0) rc = find_sections(notes, err);
    notes->width = ms_index_width(notes->tail.n_notes);
    return rc;
}

int msim_notes_open(const char *path, msim_notes **out, msim_error *err) {
    *out = NULL;
    msim_notes *notes = ms_alloc(1, sizeof *notes, "note index", err);
    if (!notes) return -MSIM_E_MEMORY;
    int rc = open_file(notes, path, err);
    if (rc < 0) {
        msim_notes_close(notes);
        return rc;
    }
    *out = notes;
    return MSIM_OK;
}

void msim_notes_close(msim_notes *notes) {
    if (!notes) return;
    ms_map_close(&notes->map);
    ms_free(notes);
}

/* ---- What the sections hold ---- */

bool ms_index_piece(const msim_notes *notes, uint64_t piece, ms_piece_view *out) {
    const ms_notes_tail *t = &notes->tail;
    if (piece >= t->n_pieces) return false;
    const ms_piece_record *r = &notes->pieces[piece];
    const uint64_t names = t->sections[MS_SECTION_NAMES].n_bytes,
                   details = t->sections[MS_SECTION_DETAILS].n_bytes;
    if (r->name_at > names || r->name_bytes > names - r->name_at) return false;
    if (r->details_at > details || r->details_bytes > details - r->details_at) return false;
    if (r->first_note > t->n_notes || r->n_notes > t->n_notes - r->first_note) return false;
    *out = (ms_piece_view){.name = notes->names + r->name_at,
                           .name_bytes = r->name_bytes,
                           .content = r->content,
                           .digest = r->digest,
                           .first_note = r->first_note,
                           .n_notes = r->n_notes,
                           .length_ms = r->length_ms,
                           .pitches = notes->pitches + r->first_note,
                           .details = notes->details + r->details_at,
                           .details_bytes = r->details_bytes};
    return true;
}

bool ms_index_piece_of(const msim_notes *notes, uint64_t note, uint32_t *piece, uint32_t *number) {
    if (note >= notes->tail.n_notes) return false;
    const uint64_t first = notes->ranges[note / MS_RANGE_NOTES];
    /* Every piece has a note, so that a range meets no more pieces than it has notes. */
    for (uint64_t p = first; p < notes->tail.n_pieces && p - first <= MS_RANGE_NOTES; p++) {
        const ms_piece_record *r = &notes->pieces[p];
        if (note < r->first_note) return false;
        if (note - r->first_note < r->n_notes) {
            *piece = (uint32_t)p;
            *number = (uint32_t)(note - r->first_note);
            return true;
        }
    }
    return false;
}

/* The number of pieces whose digest is below, in a list that is in order of digest. */
static uint64_t digests_below(const msim_notes *notes, uint64_t digest, bool is_equal_below) {
    uint64_t low = 0, high = notes->tail.n_pieces;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2, piece = notes->digests[middle];
        const uint64_t its = piece < notes->tail.n_pieces ? notes->pieces[piece].digest : 0;
        if (its < digest || (is_equal_below && its == digest))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const uint32_t *ms_index_digest(const msim_notes *notes, uint64_t digest, size_t *n) {
    const uint64_t first = digests_below(notes, digest, false),
                   end = digests_below(notes, digest, true);
    *n = end > first ? (size_t)(end - first) : 0;
    return *n ? notes->digests + first : NULL;
}

bool ms_index_block(const msim_notes *notes, uint64_t b, const uint8_t **bytes, size_t *n_bytes,
                    size_t *n_postings) {
    const uint64_t all = notes->tail.sections[MS_SECTION_POSTINGS].n_bytes, from = notes->starts[b],
                   to = notes->starts[b + 1];
    if (from > to || to > all) return false;
    const uint64_t left = notes->tail.n_postings - b * MS_BLOCK;
    *bytes = notes->postings + from;
    *n_bytes = (size_t)(to - from);
    *n_postings = left < MS_BLOCK ? (size_t)left : MS_BLOCK;
    return *n_bytes >= ms_packed_bytes(*n_postings, notes->width);
}

int msim_notes_check(const msim_notes *notes, msim_error *err) {
    static const char *const names[] = {"pieces",  "names",    "digests", "ranges", "pitches",
                                        "details", "postings", "keys",    "starts"};
    for (int s = 0; s < MS_SECTIONS; s++) {
        const ms_section_record *r = &notes->tail.sections[s];
        if (crc32_z(0, notes->map.data + r->at, (z_size_t)r->n_bytes) != r->crc)
            return ms_fail(err, MSIM_E_FORMAT,
                           "note index %s: damaged: the checksum of its %s; build it again",
                           notes->map.path, names[s]);
    }
    return ms_map_check(&notes->map, err);
}

int msim_notes_get_info(const msim_notes *notes, msim_notes_info *out) {
    const ms_notes_tail *t = &notes->tail;
    msim_notes_info info = {.size = sizeof info,
                            .pieces = (int64_t)t->n_pieces,
                            .notes = (int64_t)t->n_notes,
                            .postings = (int64_t)t->n_postings,
                            .file_bytes = (int64_t)t->file_bytes,
                            .density = t->density,
                            .has_bottom = t->has_bottom};
    for (int s = MS_SECTION_RANGES; s <= MS_SECTION_DETAILS; s++)
        info.note_bytes += (int64_t)t->sections[s].n_bytes;
    for (int s = MS_SECTION_POSTINGS; s < MS_SECTIONS; s++)
        info.posting_bytes += (int64_t)t->sections[s].n_bytes;
    return ms_sized_out(out, &info, sizeof info);
}

/* ---- Pieces ---- */

int msim_notes_get_piece(const msim_notes *notes, int64_t piece, msim_notes_piece *out) {
    ms_piece_view view;
    if (piece < 0 || (uint64_t)piece >= notes->tail.n_pieces) return -MSIM_E_ARG;
    if (!ms_index_piece(notes, (uint64_t)piece, &view)) return -MSIM_E_FORMAT;
    msim_notes_piece p = {.size = sizeof p,
                          .name = view.name,
                          .name_bytes = view.name_bytes,
                          .n_notes = (int64_t)view.n_notes,
                          .seconds = view.length_ms / 1000.0,
                          .digest = view.digest};
    memcpy(p.content, view.content, sizeof p.content);
    return ms_sized_out(out, &p, sizeof p);
}

int64_t msim_notes_find_piece(const msim_notes *notes, const char *name, size_t name_bytes) {
    uint64_t low = 0, high = notes->tail.n_pieces;
    ms_piece_view view;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (!ms_index_piece(notes, middle, &view)) return -MSIM_E_FORMAT;
        if (ms_text_compare(view.name, view.name_bytes, name, name_bytes) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (!ms_index_piece(notes, low, &view) ||
        ms_text_compare(view.name, view.name_bytes, name, name_bytes) != 0)
        return -MSIM_E_EMPTY;
    return (int64_t)low;
}

struct msim_loaded_piece {
    ms_arena arena;
};

int msim_notes_load_piece(const msim_notes *notes, int64_t piece, msim_loaded_piece **loaded,
                          msim_piece_notes *out, msim_error *err) {
    ms_piece_view view;
    msim_piece_notes got = {.size = sizeof got};
    *loaded = NULL;
    if (piece < 0 || (uint64_t)piece >= notes->tail.n_pieces)
        return ms_fail(err, MSIM_E_ARG, "piece: expected 0..%lld, got %lld",
                       (long long)notes->tail.n_pieces - 1, (long long)piece);
    if (!ms_index_piece(notes, (uint64_t)piece, &view))
        return ms_index_damaged(notes, "a piece", err);
    msim_loaded_piece *l = ms_alloc(1, sizeof *l, "a piece", err);
    if (!l) return -MSIM_E_MEMORY;
    ms_arena_init(&l->arena, 0);
    int rc = ms_details_get(view.details, view.details_bytes, view.pitches, view.n_notes, &l->arena,
                            &got, err);
    if (rc >= 0) rc = ms_sized_out(out, &got, sizeof got);
    if (rc < 0) {
        msim_notes_free_piece(l);
        return rc;
    }
    *loaded = l;
    return MSIM_OK;
}

void msim_notes_free_piece(msim_loaded_piece *loaded) {
    if (!loaded) return;
    ms_arena_free(&loaded->arena);
    ms_free(loaded);
}
