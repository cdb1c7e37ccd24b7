/* The files that midisim-find writes: passages that agree, and copies of matches. Contract:
 * tools/find/find.h. */
#include "base/mem.h"
#include "find.h"
#include <stdio.h>
#include <string.h>

/* The part of a path behind its folders, without the ending. */
static size_t stem_of(const char *name, size_t n, const char **stem) {
    size_t from = 0, to = n;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '/') from = i + 1;
    for (size_t i = n; i-- > from + 1;)
        if (name[i] == '.') {
            to = i;
            break;
        }
    *stem = name + from;
    return to - from;
}

/* "QUERY/RANK_" and a name. Queries that are phrases are long, and hold what a path should not. */
static size_t make_name(char *out, size_t cap, const char *query, int64_t rank, const char *name,
                        size_t n) {
    const char *stem;
    const size_t bytes = stem_of(query, strlen(query), &stem);
    const int done = snprintf(out, cap, "%.*s/%02lld_%.*s", (int)(bytes < 100 ? bytes : 100), stem,
                              (long long)rank, (int)(n < 150 ? n : 150), name);
    return done < 0 ? 0 : (size_t)done < cap ? (size_t)done : cap - 1;
}

static int write_file(const ms_find_settings *s, ms_tree *tree, const char *name, size_t n,
                      const void *data, size_t n_bytes) {
    msim_error err = {0};
    const ms_put_part part = {.data = data, .n = n_bytes};
    const char *path = ms_tree_claim(tree, name, n, ".mid", NULL, &err);
    int rc = path ? 1 : -MSIM_E_MEMORY;
    if (rc > 0 && ms_tree_holds(tree, path, data, n_bytes, (int64_t)n_bytes)) return 0;
    if (rc > 0) rc = ms_tree_write(tree, path, &part, 1, s->is_forced, &err);
    if (rc > 0) return 0;
    ms_cli_error("%s", rc < 0 ? err.text : "not written: a file is there; --force replaces it");
    return -MSIM_E_IO;
}

/* Notes first .. last that lie between two times, as a MIDI file. */
static int write_notes(const ms_find_settings *s, ms_tree *tree, const char *name, size_t n,
                       const msim_piece_notes *piece, double from, double to) {
    msim_error err = {0};
    msim_piece_notes part = *piece;
    size_t first = 0, last = piece->n_notes;
    while (first < last && piece->notes[first].start_ms + 0.5 < from * 1000) first++;
    while (last > first && piece->notes[last - 1].start_ms - 60.0 > to * 1000) last--;
    part.notes += first;
    part.n_notes = last - first;
    int64_t n_bytes = msim_midi_write_notes(&part, 0, NULL, 0, &err);
    unsigned char *bytes = n_bytes < 0 ? NULL : ms_alloc((size_t)n_bytes, 1, "a MIDI file", &err);
    if (!bytes) {
        ms_cli_error("%s", err.text);
        return -MSIM_E_MEMORY;
    }
    n_bytes = msim_midi_write_notes(&part, 0, bytes, (size_t)n_bytes, &err);
    int rc = n_bytes < 0 ? (int)n_bytes : write_file(s, tree, name, n, bytes, (size_t)n_bytes);
    ms_free(bytes);
    return rc;
}

static int write_excerpts(const ms_find_settings *s, const msim_notes *notes, ms_tree *tree,
                          const ms_asked *q, int64_t i, const msim_notes_piece *piece) {
    char name[512];
    const char *stem;
    const msim_place *place = &q->matches[i].place;
    msim_error err;
    msim_loaded_piece *loaded;
    msim_piece_notes found = {.size = sizeof found};
    const msim_piece_notes asked = {.size = sizeof asked,
                                    .notes = q->notes,
                                    .n_notes = q->n_notes,
                                    .voices = q->voices,
                                    .n_voices = q->n_voices};
    int rc = msim_notes_load_piece(notes, q->matches[i].piece, &loaded, &found, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return rc;
    }
    const size_t bytes = stem_of(piece->name, piece->name_bytes, &stem);
    size_t n = make_name(name, sizeof name, q->label, i + 1, stem, bytes);
    rc = write_notes(s, tree, name, n, &found, place->from, place->to);
    n = make_name(name, sizeof name, q->label, i + 1, "query", 5);
    if (rc >= 0) rc = write_notes(s, tree, name, n, &asked, place->query_from, place->query_to);
    msim_notes_free_piece(loaded);
    return rc;
}

/* ---- Copies ---- */

/* Read a file below one of the roots; *data is the caller's. Returns its bytes or < 0. */
static int64_t read_source(const char *root, const msim_notes_piece *piece, unsigned char **data,
                           msim_error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s%.*s", root ? root : "", root ? "/" : "",
             (int)piece->name_bytes, piece->name);
    int64_t n = msim_midi_read(path, NULL, 0, err);
    if (n < 0) return n;
    *data = ms_alloc((size_t)n, 1, "a MIDI file", err);
    return *data ? msim_midi_read(path, *data, (size_t)n, err) : -MSIM_E_MEMORY;
}

static int copy_match(const ms_find_settings *s, const char *root, ms_tree *tree, const ms_asked *q,
                      int64_t i, const msim_notes_piece *piece) {
    char name[512];
    const char *stem;
    msim_error err = {0};
    unsigned char *data = NULL;
    int64_t n_bytes = -MSIM_E_IO;
    for (size_t r = 0; r < s->roots.n && n_bytes < 0; r++)
        n_bytes = read_source(s->roots.items[r], piece, &data, &err);
    if (n_bytes < 0 && s->roots.n == 0) n_bytes = read_source(root, piece, &data, &err);
    if (n_bytes < 0) {
        ms_cli_error("not copied: %s", err.text);
        return (int)n_bytes;
    }
    const size_t bytes = stem_of(piece->name, piece->name_bytes, &stem);
    const size_t n = make_name(name, sizeof name, q->label, i + 1, stem, bytes);
    int rc = write_file(s, tree, name, n, data, (size_t)n_bytes);
    ms_free(data);
    return rc;
}

int ms_find_write(const ms_find_settings *s, const msim_notes *notes, const char *root,
                  ms_tree *excerpts, ms_tree *copies, const ms_asked *q) {
    int result = 0;
    for (int64_t i = 0; i < q->n_matches && q->matches[i].is_significant; i++) {
        msim_notes_piece piece = {.size = sizeof piece};
        int rc = msim_notes_get_piece(notes, q->matches[i].piece, &piece);
        if (rc >= 0 && excerpts) rc = write_excerpts(s, notes, excerpts, q, i, &piece);
        if (rc >= 0 && copies) rc = copy_match(s, root, copies, q, i, &piece);
        if (rc < 0) result = rc;
    }
    return result;
}
