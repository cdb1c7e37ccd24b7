/* A note index (.notes). Bit 0 of the first byte: the tail is made to fit, its checksum too, so
 * that what lies before it is reached. Whatever the sections hold, searches, reads, merges and
 * checks give a status or an answer, and nothing outside the file is read. */
#include "target.h"
#include <zlib.h>

enum { TAIL = 512, FILE_BYTES_AT = 64, QUERY = 24 };

/* The size of the file and the checksum of the tail: docs/FORMATS.md has the layout. */
static void repair(uint8_t *file, size_t n_bytes) {
    if (n_bytes < TAIL) return;
    uint8_t *tail = file + n_bytes - TAIL;
    const uint64_t size = n_bytes;
    memcpy(tail + FILE_BYTES_AT, &size, 8);
    const uint32_t crc = (uint32_t)crc32_z(0, tail, TAIL - 4);
    memcpy(tail + TAIL - 4, &crc, 4);
}

/* The query is the first piece's own notes, or a scale. */
static void find(const msim_notes *notes) {
    msim_error err = {.code = 0};
    msim_finder *finder;
    msim_loaded_piece *loaded;
    msim_piece_notes piece = {.size = sizeof piece};
    msim_note scale[QUERY] = {{.pitch = 0}};
    const msim_note_match *matches;
    for (int i = 0; i < QUERY; i++) {
        scale[i].start_ms = (uint32_t)i * 200;
        scale[i].pitch = (uint8_t)(50 + i % 8);
    }
    MUST(msim_finder_open(notes, NULL, &finder, &err) >= 0);
    int64_t n = msim_finder_find(finder, scale, QUERY, &matches, &err);
    check_status(n, &err);
    int rc = msim_notes_load_piece(notes, 0, &loaded, &piece, &err);
    check_status(rc, &err);
    if (rc >= 0) {
        n = msim_finder_find(finder, piece.notes, piece.n_notes, &matches, &err);
        check_status(n, &err);
        for (int64_t i = 0; i < n; i++) MUST(isfinite(matches[i].score));
        msim_notes_free_piece(loaded);
    }
    msim_finder_close(finder);
}

static int look(void *user, int64_t a, const msim_note_match *match) {
    (void)user;
    MUST(a >= 0 && match->piece >= 0 && isfinite(match->score) && match->n_matched > 0);
    return 0;
}

/* All pairs, and one comparison, of a piece with itself. */
static void pair(const msim_notes *notes) {
    msim_error err = {.code = 0};
    msim_pairs_options o = msim_pairs_options_default();
    msim_note_match match;
    o.threads = o.gives_both = 1;
    check_status(msim_notes_pairs(notes, &o, look, NULL, &err), &err);
    err = (msim_error){.code = 0};
    check_status(msim_notes_compare(notes, 0, notes, 0, &match, &err), &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    char path[PATH_MAX], merged[PATH_MAX];
    msim_notes *notes;
    msim_error err = {.code = 0};
    if (n_bytes == 0) return 0;
    uint8_t *file = block(n_bytes, 1);
    memcpy(file, data + 1, n_bytes - 1);
    if (data[0] & 1) repair(file, n_bytes - 1);
    as_file(path, "x.notes", file, n_bytes - 1);
    free(file);
    int rc = msim_notes_open(path, &notes, &err);
    check_status(rc, &err);
    if (rc < 0) return 0;
    rc = msim_notes_check(notes, &err);
    check_status(rc, &err);
    find(notes);
    pair(notes);
    const char *paths[1] = {path};
    rc = msim_notes_merge(paths, 1, fuzz_path(merged, "merged.notes"), 0, &err);
    check_status(rc, &err);
    msim_notes_close(notes);
    return 0;
}
