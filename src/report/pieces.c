/* The pieces of a report: where their notes come from, and how the page gets them. */
#define _GNU_SOURCE
#include "report/report.h"
#include "base/hash/fnv.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENDINGS = 3 };

/* ---- Where notes come from ---- */

/* False for what leads out of a root: an absolute path, or one with "..". */
static bool is_inside(const char *name, size_t n) {
    if (n == 0 || name[0] == '/' || memchr(name, 0, n)) return false;
    for (size_t i = 0; i + 1 < n; i++) {
        const bool is_part = i == 0 || name[i - 1] == '/';
        if (is_part && name[i] == '.' && name[i + 1] == '.' && (i + 2 == n || name[i + 2] == '/'))
            return false;
    }
    return true;
}

static int read_bytes(msim_report *r, const void *midi, size_t n, msim_piece_notes *out,
                      msim_error *why) {
    int rc = msim_note_reader_read(r->reader, midi, n, out, why);
    return rc < 0 ? rc : MS_REPORT_FILE;
}

/* MS_REPORT_FILE, or < 0 with the reason in why. */
static int read_file(msim_report *r, const char *path, msim_piece_notes *out, msim_error *why) {
    unsigned char *bytes = NULL;
    int64_t cap = 0, n = msim_midi_read(path, NULL, 0, why);
    while (n > cap) { /* it may grow meanwhile */
        ms_free(bytes);
        bytes = ms_alloc((size_t)n, 1, "a MIDI file", why);
        if (!bytes) return -MSIM_E_MEMORY;
        cap = n;
        n = msim_midi_read(path, bytes, (size_t)cap, why);
    }
    int rc = n < 0 ? (int)n : read_bytes(r, bytes, (size_t)n, out, why);
    ms_free(bytes);
    return rc;
}

/* Below one of the roots. */
static int read_below(msim_report *r, const char *name, size_t n, msim_piece_notes *out,
                      msim_error *why) {
    static const char *const endings[ENDINGS] = {"", ".mid", ".midi"}; /* of names that are stems */
    char path[PATH_MAX];
    msim_error other;
    int rc = ms_fail(why, MSIM_E_IO, "no folder of MIDI files was given: --midi-root");
    if (r->o.n_roots > 0 && !is_inside(name, n))
        return ms_fail(why, MSIM_E_IO, "its name is no path below a folder");
    if (n >= sizeof path) return ms_fail(why, MSIM_E_IO, "its name is too long for a path");
    for (size_t i = 0; i < ENDINGS * r->o.n_roots; i++) {
        const int len = snprintf(path, sizeof path, "%s/%.*s%s", r->roots[i / ENDINGS], (int)n,
                                 name, endings[i % ENDINGS]);
        if (len < 0 || (size_t)len >= sizeof path)
            return ms_fail(why, MSIM_E_IO, "its name is too long for a path");
        int now = read_file(r, path, out, i % ENDINGS ? &other : why);
        if (now >= 0 || now == -MSIM_E_MEMORY) return now;
    }
    return rc;
}

static int read_index(msim_report *r, const char *name, size_t n, msim_piece_notes *out,
                      msim_loaded_piece **loaded, msim_error *err) {
    if (!r->o.notes) return MS_REPORT_NOTHING;
    const int64_t piece = msim_notes_find_piece(r->o.notes, name, n);
    if (piece < 0) return MS_REPORT_NOTHING;
    int rc = msim_notes_load_piece(r->o.notes, piece, loaded, out, err);
    if (rc >= 0) return MS_REPORT_INDEX;
    return rc == -MSIM_E_MEMORY ? rc : MS_REPORT_NOTHING;
}

int ms_report_read(msim_report *r, const char *name, size_t n, const char *path,
                   msim_piece_notes *out, msim_loaded_piece **loaded, char *why, size_t cap,
                   msim_error *err) {
    msim_error reason;
    *loaded = NULL;
    *out = (msim_piece_notes){.size = sizeof *out};
    int rc = path ? read_file(r, path, out, &reason) : read_below(r, name, n, out, &reason);
    if (rc == -MSIM_E_MEMORY) return ms_fail(err, MSIM_E_MEMORY, "%s", reason.text);
    if (rc >= 0) return rc;
    snprintf(why, cap, "%s", reason.text);
    *out = (msim_piece_notes){.size = sizeof *out};
    return read_index(r, name, n, out, loaded, err);
}

/* ---- Notes in memory ---- */

void ms_report_free_piece(ms_report_piece *p) {
    ms_free(p->name);
    ms_free(p->path);
    ms_free(p->lacks);
    ms_free(p->notes);
    ms_free(p->tuned);
    ms_free(p->numbers);
    ms_json_text_free(&p->voices);
    ms_json_text_free(&p->bars);
}

static int by_start(const void *a, const void *b) {
    const msim_note *x = a, *y = b;
    if (x->start_ms != y->start_ms) return x->start_ms < y->start_ms ? -1 : 1;
    if (x->pitch != y->pitch) return x->pitch > y->pitch ? -1 : 1;
    return (x->voice > y->voice) - (x->voice < y->voice);
}

static bool is_drum(const msim_piece_notes *from, const msim_note *note) {
    return note->voice < from->n_voices && from->voices[note->voice].channel == MS_DRUM_CHANNEL;
}

/* The first of all notes, and no memory for the others. */
static int keep_first(ms_report_piece *p, const msim_piece_notes *from, msim_error *err) {
    msim_note *all = ms_alloc(from->n_notes, sizeof *all, "notes", err);
    p->notes = all;
    if (!all) return -MSIM_E_MEMORY;
    if (from->n_notes) memcpy(all, from->notes, from->n_notes * sizeof *all);
    qsort(all, from->n_notes, sizeof *all, by_start);
    if (p->n_left_out == 0) return MSIM_OK;
    p->notes = ms_alloc(p->n_notes, sizeof *p->notes, "notes", err);
    if (p->notes) memcpy(p->notes, all, p->n_notes * sizeof *all);
    ms_free(all);
    return p->notes ? MSIM_OK : -MSIM_E_MEMORY;
}

static int keep_notes(ms_report_piece *p, const msim_piece_notes *from, size_t most,
                      msim_error *err) {
    p->n_notes = from->n_notes < most ? from->n_notes : most;
    p->n_left_out = from->n_notes - p->n_notes;
    int rc = keep_first(p, from, err);
    if (rc < 0) return rc;
    p->tuned = ms_alloc(p->n_notes, sizeof *p->tuned, "notes", err);
    p->numbers = p->tuned ? ms_alloc(p->n_notes, sizeof *p->numbers, "notes", err) : NULL;
    if (!p->numbers) return -MSIM_E_MEMORY;
    for (size_t i = 0; i < p->n_notes; i++) {
        if (is_drum(from, &p->notes[i])) continue;
        p->numbers[p->n_tuned] = (int32_t)i;
        p->tuned[p->n_tuned++] = p->notes[i];
    }
    return MSIM_OK;
}

static void put_voices(ms_report_piece *p, const msim_piece_notes *from) {
    ms_report_put(&p->voices, "[");
    for (size_t v = 0; v < from->n_voices; v++) {
        const msim_voice *voice = &from->voices[v];
        char numbers[64];
        snprintf(numbers, sizeof numbers, "%s[%d,%d,%d,", v ? "," : "", voice->track,
                 voice->channel, voice->program);
        ms_report_put(&p->voices, numbers);
        ms_json_put_string(&p->voices, voice->name_bytes ? voice->name : "", voice->name_bytes);
        ms_report_put(&p->voices, "]");
    }
    ms_report_put(&p->voices, "]");
}

/* [ms since the bar before, beats, unit, ...], the meter only where it changes: then the number is
 * negative, less 1. */
static void put_bars(ms_report_piece *p, const msim_piece_notes *from) {
    uint32_t last = 0;
    int beats = 0, unit = 0;
    ms_report_put(&p->bars, "[");
    for (size_t b = 0; b < from->n_bars; b++) {
        const msim_bar *bar = &from->bars[b];
        const bool is_new = bar->beats != beats || bar->beat_unit != unit;
        const int64_t step = (int64_t)bar->start_ms - last;
        if (b) ms_report_put(&p->bars, ",");
        ms_json_put_int(&p->bars, is_new ? -step - 1 : step);
        if (is_new) {
            ms_report_put(&p->bars, ",");
            ms_json_put_int(&p->bars, beats = bar->beats);
            ms_report_put(&p->bars, ",");
            ms_json_put_int(&p->bars, unit = bar->beat_unit);
        }
        last = bar->start_ms;
    }
    ms_report_put(&p->bars, "]");
}

/* The notes, and what the report says of them. */
static int keep_piece(msim_report *r, ms_report_piece *p, const msim_piece_notes *from,
                      msim_error *err) {
    const int64_t left = r->o.max_notes - r->n_notes;
    int64_t most = r->o.max_piece_notes;
    if ((int64_t)from->n_notes > left && most > left) {
        p->lacks = ms_mem_copy_text("the report is as large as it may be", "a reason", err);
        p->source = MS_REPORT_NOTHING;
        return p->lacks ? MSIM_OK : -MSIM_E_MEMORY;
    }
    int rc = keep_notes(p, from, (size_t)most, err);
    if (rc < 0) return rc;
    put_voices(p, from);
    put_bars(p, from);
    rc = ms_json_text_failed(&p->voices, err);
    if (rc >= 0) rc = ms_json_text_failed(&p->bars, err);
    return rc;
}

/* ---- Adding pieces ---- */

static char *copy_bytes(const char *bytes, size_t n, msim_error *err) {
    char *copy = ms_alloc(n + 1, 1, "a name", err);
    if (!copy) return NULL;
    if (n) memcpy(copy, bytes, n);
    return copy;
}

/* The slot of a name of a file. */
static size_t slot_of(const msim_report *r, const char *name, size_t n, const char *path) {
    const uint64_t h = ms_fnv1a(name, n) + 31 * ms_fnv1a(path, strlen(path));
    size_t i = (size_t)h & (r->table_size - 1);
    for (; r->table[i]; i = (i + 1) & (r->table_size - 1)) {
        const ms_report_piece *p = &r->pieces[r->table[i] - 1];
        if (p->name_bytes == n && memcmp(p->name, name, n) == 0 && strcmp(p->path, path) == 0)
            break;
    }
    return i;
}

/* The same name of the same file: its number, or -1. */
static int64_t find_piece(const msim_report *r, const char *name, size_t n, const char *path) {
    return r->table_size ? r->table[slot_of(r, name, n, path)] - 1 : -1;
}

/* Notes that were given are not found again: a file of that name is something else. */
static void remember(msim_report *r, size_t piece) {
    const ms_report_piece *p = &r->pieces[piece];
    if (p->source == MS_REPORT_GIVEN) return;
    int64_t *slot = &r->table[slot_of(r, p->name, p->name_bytes, p->path)];
    if (!*slot) *slot = (int64_t)piece + 1;
}

static int reserve_table(msim_report *r, msim_error *err) {
    if (2 * (r->n_pieces + 1) <= r->table_size) return MSIM_OK;
    const size_t size = r->table_size ? 2 * r->table_size : 64;
    int64_t *table = ms_alloc(size, sizeof *table, "pieces", err);
    if (!table) return -MSIM_E_MEMORY;
    ms_free(r->table);
    r->table = table;
    r->table_size = size;
    for (size_t i = 0; i < r->n_pieces; i++) remember(r, i);
    return MSIM_OK;
}

/* A new piece that is not yet counted. */
static int begin_piece(msim_report *r, const char *name, size_t n, const char *path,
                       ms_report_piece **out, msim_error *err) {
    int rc = ms_grow((void **)&r->pieces, &r->pieces_cap, r->n_pieces + 1, sizeof *r->pieces,
                     "pieces", err);
    *out = NULL;
    if (rc >= 0) rc = reserve_table(r, err);
    if (rc < 0) return rc;
    ms_report_piece *p = &r->pieces[r->n_pieces];
    *p = (ms_report_piece){.name = copy_bytes(name, n, err), .name_bytes = n};
    p->path = p->name ? ms_mem_copy_text(path, "a path", err) : NULL;
    *out = p;
    return p->path ? MSIM_OK : -MSIM_E_MEMORY;
}

/* Count it, or forget it. Returns its number. */
static int64_t end_piece(msim_report *r, ms_report_piece *p, int rc) {
    if (rc < 0) {
        if (p) ms_report_free_piece(p);
        return rc;
    }
    r->n_notes += (int64_t)p->n_notes;
    r->n_without += p->source == MS_REPORT_NOTHING;
    r->n_not_found += p->is_not_found;
    remember(r, r->n_pieces);
    return (int64_t)r->n_pieces++;
}

void ms_report_forget_pieces(msim_report *r, size_t n) {
    while (r->n_pieces > n) {
        ms_report_piece *p = &r->pieces[--r->n_pieces];
        r->n_notes -= (int64_t)p->n_notes;
        r->n_without -= p->source == MS_REPORT_NOTHING;
        r->n_not_found -= p->is_not_found;
        ms_report_free_piece(p);
    }
    if (r->table_size) memset(r->table, 0, r->table_size * sizeof *r->table);
    for (size_t i = 0; i < n; i++) remember(r, i);
}

int64_t msim_report_add_piece(msim_report *r, const char *name, size_t n, const char *path,
                              msim_error *err) {
    msim_piece_notes notes;
    msim_loaded_piece *loaded = NULL;
    ms_report_piece *p;
    char why[500] = "";
    const int64_t known = find_piece(r, name, n, path ? path : "");
    if (known >= 0) return known;
    int rc = begin_piece(r, name, n, path ? path : "", &p, err);
    if (rc >= 0) rc = ms_report_read(r, name, n, path, &notes, &loaded, why, sizeof why, err);
    if (rc >= 0) p->source = rc;
    if (rc == MS_REPORT_NOTHING) p->is_not_found = !path;
    if (rc > MS_REPORT_NOTHING)
        rc = keep_piece(r, p, &notes, err);
    else if (rc >= 0 && !(p->lacks = ms_mem_copy_text(why, "a reason", err)))
        rc = -MSIM_E_MEMORY;
    msim_notes_free_piece(loaded);
    return end_piece(r, p, rc);
}

int64_t msim_report_add_notes(msim_report *r, const char *name, size_t n,
                              const msim_piece_notes *notes, msim_error *err) {
    ms_report_piece *p;
    for (size_t i = 0; i < notes->n_notes; i++)
        if (notes->notes[i].pitch > 127 || notes->notes[i].start_ms > MSIM_NOTE_MAX_MS ||
            notes->notes[i].velocity > 127)
            return ms_fail(err, MSIM_E_ARG, "report: note %zu: no piece can have it", i);
    int rc = begin_piece(r, name, n, "", &p, err);
    if (rc >= 0) p->source = MS_REPORT_GIVEN;
    if (rc >= 0) rc = keep_piece(r, p, notes, err);
    return end_piece(r, p, rc);
}

int64_t msim_report_add_midi(msim_report *r, const char *name, size_t n, const void *midi,
                             size_t n_bytes, msim_error *err) {
    msim_piece_notes notes = {.size = sizeof notes};
    msim_error own;
    int rc = read_bytes(r, midi, n_bytes, &notes, err ? err : &own);
    return rc < 0 ? rc : msim_report_add_notes(r, name, n, &notes, err);
}

/* ---- JSON ---- */

static int put_piece(const ms_report_piece *p, ms_json_text *text, msim_error *err) {
    static const char *const sources[] = {"nothing", "file", "index", "given"};
    ms_report_put(text, "{\"name\":");
    ms_json_put_string(text, p->name, p->name_bytes);
    ms_report_put(text, ",\"from\":\"");
    ms_report_put(text, sources[p->source]);
    ms_report_put(text, "\"");
    if (p->lacks) {
        ms_report_put_key(text, "lacks");
        ms_json_put_string(text, p->lacks, strlen(p->lacks));
    }
    if (p->source != MS_REPORT_NOTHING) {
        ms_report_put_key(text, "count");
        ms_json_put_int(text, (int64_t)(p->n_notes + p->n_left_out));
        ms_report_put_key(text, "voices");
        ms_json_put(text, p->voices.data, p->voices.n);
        ms_report_put_key(text, "bars");
        ms_json_put(text, p->bars.data, p->bars.n);
        ms_report_put_key(text, "notes");
        int rc = ms_report_put_notes(text, p->notes, p->n_notes, err);
        if (rc < 0) return rc;
    }
    ms_report_put(text, "}");
    return MSIM_OK;
}

int ms_report_write_pieces(const msim_report *r, ms_json_text *text, msim_error *err) {
    ms_report_put(text, "[");
    for (size_t i = 0; i < r->n_pieces; i++) {
        if (i) ms_report_put(text, ",\n");
        int rc = put_piece(&r->pieces[i], text, err);
        if (rc < 0) return rc;
    }
    ms_report_put(text, "]");
    return ms_json_text_failed(text, err);
}
