/* Canonical order: see canon.h. */
#include "notes/seeds/canon.h"
#include "base/stop/sort.h"
#include "notes/constants.h"
#include <string.h>

static int by_start(const void *a, const void *b) {
    const msim_note *x = a, *y = b;
    if (x->start_ms != y->start_ms) return x->start_ms < y->start_ms ? -1 : 1;
    if (x->pitch != y->pitch) return x->pitch > y->pitch ? -1 : 1;
    if (x->voice != y->voice) return x->voice < y->voice ? -1 : 1;
    return (x->duration_ms < y->duration_ms) - (x->duration_ms > y->duration_ms);
}

static bool is_sorted(const msim_note *notes, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (by_start(&notes[i - 1], &notes[i]) > 0) return false;
    return true;
}

/* The notes themselves when they are in order, else a sorted copy. */
static int sort_notes(const msim_note **notes, size_t n, const ms_stop *stop, ms_arena *arena,
                      msim_error *err) {
    if (is_sorted(*notes, n)) return MSIM_OK;
    msim_note *copy = ms_arena_get(arena, n, sizeof *copy, "notes", err);
    if (!copy) return -MSIM_E_MEMORY;
    memcpy(copy, *notes, n * sizeof *copy);
    *notes = copy;
    return ms_sort(copy, n, sizeof *copy, by_start, stop, arena, "notes", err);
}

/* Notes first .. first + n - 1 by falling pitch, then as they stand: order [n] gets the notes. */
static void order_group(const msim_note *notes, size_t first, size_t n, uint32_t *order) {
    enum { FEW = 24, PITCHES = 128 };
    size_t place[PITCHES + 1] = {0};
    for (size_t i = 0; i < n && n <= FEW; i++) {
        const unsigned pitch = notes[first + i].pitch & 127;
        size_t k = i;
        for (; k > 0 && (notes[order[k - 1]].pitch & 127) < pitch; k--) order[k] = order[k - 1];
        order[k] = (uint32_t)(first + i);
    }
    if (n <= FEW) return;
    for (size_t i = 0; i < n; i++) place[PITCHES - (notes[first + i].pitch & 127)]++;
    for (size_t p = 0; p < PITCHES; p++) place[p + 1] += place[p];
    for (size_t i = 0; i < n; i++)
        order[place[PITCHES - 1 - (notes[first + i].pitch & 127)]++] = (uint32_t)(first + i);
}

static uint32_t end_of(const msim_note *note) {
    const uint64_t end = (uint64_t)note->start_ms + note->duration_ms;
    return end < MSIM_NOTE_MAX_MS ? (uint32_t)end : MSIM_NOTE_MAX_MS;
}

static void add_note(ms_canon *c, const msim_note *note, uint32_t time, bool is_again) {
    const uint32_t end = end_of(note);
    if (!is_again) {
        c->time[c->n] = time;
        c->onset[c->n] = note->start_ms;
        c->end[c->n] = end;
        c->group[c->n] = (uint32_t)c->n_groups;
        c->pitch[c->n] = note->pitch & 127;
        c->voice[c->n++] = note->voice;
    }
    const size_t i = c->n - 1;
    if (end > c->end[i]) c->end[i] = end;
    if (note->voice < c->voice[i]) c->voice[i] = note->voice;
    if (note->voice >= c->n_voices) c->n_voices = (size_t)note->voice + 1;
    c->part_note[c->n_parts] = (uint32_t)i;
    c->part_voice[c->n_parts++] = note->voice;
}

static int reserve(ms_canon *c, size_t n, ms_arena *arena, msim_error *err) {
    *c = (ms_canon){.time = ms_arena_get(arena, n, sizeof *c->time, "notes", err)};
    c->onset = c->time ? ms_arena_get(arena, n, sizeof *c->onset, "notes", err) : NULL;
    c->end = c->onset ? ms_arena_get(arena, n, sizeof *c->end, "notes", err) : NULL;
    c->group = c->end ? ms_arena_get(arena, n, sizeof *c->group, "notes", err) : NULL;
    c->pitch = c->group ? ms_arena_get(arena, n, sizeof *c->pitch, "notes", err) : NULL;
    c->voice = c->pitch ? ms_arena_get(arena, n, sizeof *c->voice, "notes", err) : NULL;
    c->part_note = c->voice ? ms_arena_get(arena, n, sizeof *c->part_note, "notes", err) : NULL;
    c->part_voice = c->part_note ? ms_arena_get(arena, n, sizeof *c->part_voice, "notes", err)
                                 : NULL;
    return c->part_voice ? MSIM_OK : -MSIM_E_MEMORY;
}

int ms_canon_make(const msim_note *notes, size_t n, const ms_stop *stop, ms_arena *arena,
                  ms_canon *out, msim_error *err) {
    if (n > INT32_MAX)
        return ms_fail(err, MSIM_E_LIMIT, "notes of a piece: expected at most %d, got %zu",
                       INT32_MAX, n);
    int rc = reserve(out, n, arena, err);
    uint32_t *order = rc < 0 ? NULL : ms_arena_get(arena, n, sizeof *order, "notes", err);
    if (!order) return -MSIM_E_MEMORY;
    rc = sort_notes(&notes, n, stop, arena, err);
    for (size_t first = 0, next; first < n && rc >= 0; first = next) {
        const uint32_t time = notes[first].start_ms;
        rc = ms_stop_check_at(stop, out->n_groups, "notes", err);
        for (next = first + 1; next < n && notes[next].start_ms - time <= MS_CHORD_MS; next++) {
        }
        order_group(notes, first, next - first, order);
        for (size_t k = 0; k < next - first; k++) {
            const msim_note *note = &notes[order[k]];
            const bool is_again = k > 0 && out->pitch[out->n - 1] == (note->pitch & 127);
            add_note(out, note, time > MSIM_NOTE_MAX_MS ? MSIM_NOTE_MAX_MS : time, is_again);
        }
        out->n_groups++;
    }
    return rc;
}
