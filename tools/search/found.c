/* Contract: tools/search/found.h. */
#define _GNU_SOURCE
#include "found.h"
#include "base/mem.h"
#include "common/notes/open.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The index ---- */

static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* What is there of: --notes, CORPUS.notes, the folder of --midi-root, the corpus's own folder,
 * which need not hold MIDI files (*may_be_empty). NULL: nothing. `beside` [cap] gets the path of
 * CORPUS.notes in any case. */
static const char *choose_index(const ms_search_settings *set, char *beside, size_t cap,
                                bool *may_be_empty) {
    const char *corpus = set->corpora.items[0];
    *may_be_empty = false;
    const bool has_room = ms_noteindex_beside(corpus, beside, cap);
    if (set->notes_index) return set->notes_index;
    if (set->corpora.n == 1 && has_room && access(beside, F_OK) == 0) return beside;
    if (set->midi_roots.n == 1) return set->midi_roots.items[0];
    if (set->corpora.n > 1 || !is_folder(corpus)) return NULL;
    *may_be_empty = true;
    return corpus;
}

/* There is none: an error with --find, else a line. */
static int say_none(const ms_search_settings *set, const char *beside, msim_error *err) {
    const char *why = set->corpora.n > 1 ? "of several corpora" : "of this corpus";
    if (set->corpora.n > 1) beside = "all.notes";
    if (set->finds)
        return ms_fail(err, MSIM_E_IO,
                       "--find: there is no note index %s: make it with 'midisim-index -o %.200s "
                       "FOLDER', or name one with --notes",
                       why, beside);
    ms_cli_note("only likeness is shown, for there is no note index %s: 'midisim-index -o %s "
                "FOLDER' makes one, and pieces that share notes are listed too",
                why, beside);
    return 0;
}

static int open_index(ms_search_found *f, msim_error *err) {
    char beside[PATH_MAX];
    bool may_be_empty;
    const char *path = choose_index(f->set, beside, sizeof beside, &may_be_empty);
    if (!path) return say_none(f->set, beside, err);
    int rc = ms_noteindex_open(path, ms_cli_threads(&f->set->common), &f->notes, NULL, err);
    if (rc == -MSIM_E_EMPTY && may_be_empty) return say_none(f->set, beside, err);
    return rc == -MSIM_E_ARG || rc == -MSIM_E_UNSUPPORTED || rc == -MSIM_E_EMPTY ? -MSIM_E_FORMAT
                                                                                 : rc;
}

/* Pieces of an excluded name are left out as its rows are. */
static int exclude_pieces(ms_search_found *f, const ms_search_names *names, msim_error *err) {
    msim_notes_info info = {.size = sizeof info};
    msim_notes_piece piece = {.size = sizeof piece};
    (void)msim_notes_get_info(f->notes, &info);
    f->within = ms_alloc((size_t)info.pieces, 1, "pieces", err);
    if (!f->within) return -MSIM_E_MEMORY;
    for (int64_t p = 0; p < info.pieces; p++) {
        if (msim_notes_get_piece(f->notes, p, &piece) < 0)
            return ms_fail(err, MSIM_E_FORMAT, "the note index is damaged: build it again");
        f->within[p] = !ms_search_names_is_excluded(names, piece.name, piece.name_bytes);
    }
    return 0;
}

int ms_search_found_open(const ms_search_names *names, ms_search_found *out, msim_error *err) {
    const ms_search_settings *set = names->set;
    msim_finder_options o = msim_finder_options_default();
    *out = (ms_search_found){.set = set};
    int rc = ms_search_finds(set) ? open_index(out, err) : 0;
    if (rc < 0 || !out->notes) return rc;
    if (set->excluded.n || set->excluded_from) rc = exclude_pieces(out, names, err);
    o.max_matches = set->k + (set->excludes_self ? MS_SEARCH_EXTRA : 0);
    o.evalue = set->evalue;
    o.is_same_key = set->is_same_key;
    o.is_same_tempo = set->is_same_tempo;
    o.within = out->within;
    o.should_stop = ms_cli_should_stop;
    if (rc >= 0) rc = msim_finder_open(out->notes, &o, &out->finder, err);
    if (rc >= 0) rc = msim_note_reader_open(&out->reader, err);
    return rc;
}

void ms_search_found_close(ms_search_found *f) {
    msim_note_reader_close(f->reader);
    msim_finder_close(f->finder);
    ms_free(f->within);
    msim_notes_close(f->notes);
}

/* ---- Answers ---- */

/* Is the piece of a match the query itself? `file` is NULL for a query that is called `name`. */
static bool is_own(const ms_search_found *f, const msim_walk_item *file, const char *name,
                   int64_t number) {
    msim_notes_piece piece = {.size = sizeof piece};
    if (!f->set->excludes_self || msim_notes_get_piece(f->notes, number, &piece) < 0) return false;
    if (file) return ms_search_names_is_of_file(file, piece.name, piece.name_bytes);
    return strlen(name) == piece.name_bytes && memcmp(name, piece.name, piece.name_bytes) == 0;
}

/* Ask for the notes of `asked`, and keep the matches that count. */
static int answer(ms_search_found *f, const msim_walk_item *file, const char *name, ms_asked *asked,
                  msim_error *err) {
    const msim_note_match *all;
    int64_t n = msim_finder_find(f->finder, asked->notes, asked->n_notes, &all, err), n_kept = 0;
    if (n < 0) return (int)n;
    msim_note_match *kept = ms_alloc((size_t)n, sizeof *kept, "matches", err);
    if (!kept) return -MSIM_E_MEMORY;
    for (int64_t i = 0; i < n && n_kept < f->set->k; i++)
        if (all[i].is_significant && !is_own(f, file, name, all[i].piece)) kept[n_kept++] = all[i];
    int rc = ms_asked_keep(asked, kept, n_kept, err);
    ms_free(kept);
    return rc;
}

int ms_search_found_file(ms_search_found *f, const msim_walk_item *file, ms_asked *out,
                         msim_error *err) {
    msim_piece_notes piece = {.size = sizeof piece};
    msim_error why;
    int rc = msim_note_reader_read(f->reader, file->bytes, file->n_bytes, &piece, &why);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", why.text);
    if (rc < 0) piece = (msim_piece_notes){.size = sizeof piece}; /* drums alone: no notes */
    rc = ms_asked_take(file->path, strlen(file->path), &piece, out, err);
    return rc < 0 ? rc : answer(f, file, NULL, out, err);
}

int ms_search_found_piece(ms_search_found *f, const char *name, ms_asked *out, msim_error *err) {
    const size_t n = strlen(name);
    msim_loaded_piece *loaded;
    msim_piece_notes piece = {.size = sizeof piece};
    *out = (ms_asked){0};
    const int64_t number = msim_notes_find_piece(f->notes, name, n);
    if (number < 0) {
        ms_cli_warning("--like: the note index has no piece of the name '%.200s'", name);
        return 0;
    }
    int rc = msim_notes_load_piece(f->notes, number, &loaded, &piece, err);
    if (rc < 0) return rc;
    rc = ms_asked_take(name, n, &piece, out, err);
    msim_notes_free_piece(loaded);
    if (rc >= 0) rc = answer(f, NULL, name, out, err);
    return rc < 0 ? rc : 1;
}
