/* Windows of a piece. See midi/windows.h.
 *
 *   0 | d p | s d p | d p | s d p | ...     0 begins the piece; s: a step; d p: a note
 *
 * One walk over the notes with two places, both of which only move forward: where the window in
 * hand begins, and the first note behind it. Nothing is allocated. */
#include "midi/windows.h"

#define UNIT_MS 32
#define MOST_MS ((uint64_t)UINT32_MAX) /* about 49 days: no later time is told */

/* A note, and its first token: the step, where it has one. */
typedef struct {
    size_t note;
    int64_t begin;
} note_place;

/* Where a window begins that begins with this note: behind the step. */
static int64_t at(const ms_windows *w, const note_place *p) {
    return p->begin + ms_token_note_ids(&w->notes[p->note]) - 2;
}

static note_place after(const ms_windows *w, const note_place *p) {
    return (note_place){p->note + 1, p->begin + ms_token_note_ids(&w->notes[p->note])};
}

/* True when nothing of the note is left. */
static bool is_cut_off(const ms_windows *w, const note_place *p) {
    return p->note >= w->n_notes || at(w, p) >= w->n_tokens;
}

static double seconds(const ms_windows *w, uint64_t units) {
    uint64_t ms = units < MOST_MS / UNIT_MS && w->origin_ms < MOST_MS
                      ? w->origin_ms + UNIT_MS * units
                      : MOST_MS;
    return (double)(ms < MOST_MS ? ms : MOST_MS) / 1000.0;
}

static double last_end(const ms_windows *w, size_t from) {
    uint64_t last = 0;
    for (size_t i = from; i < w->n_notes; i++) {
        uint64_t end = w->units[i].start + w->units[i].duration;
        if (end > last) last = end;
    }
    return seconds(w, last);
}

/* Tokens of a window from `p` up to the token `to`, with the one that begins it. */
static int64_t length(const ms_windows *w, const note_place *p, int64_t to) {
    return 1 + to - at(w, p);
}

/* The earliest note from which a window reaches the end of the piece. */
static note_place find_last(const ms_windows *w) {
    note_place p = {.begin = 1};
    while (length(w, &p, w->n_tokens) > w->window_tokens) {
        note_place next = after(w, &p);
        if (is_cut_off(w, &next)) break;
        p = next;
    }
    return p;
}

/* The first note behind the window that begins at `from` and does not reach the end of the piece.
 * At least one note is in it. */
static note_place find_end(const ms_windows *w, const note_place *from,
                           const note_place *end_before) {
    note_place end = after(w, from);
    if (end_before->note > end.note) end = *end_before;
    for (;;) {
        note_place next = after(w, &end);
        if (length(w, from, next.begin) > w->window_tokens) return end;
        end = next;
    }
}

/* The last note that begins at most a step behind `from`: at least one note later, and not behind
 * the end of the window. */
static note_place find_next(const ms_windows *w, const note_place *from, const note_place *end) {
    note_place p = after(w, from);
    while (p.note < end->note) {
        note_place next = after(w, &p);
        if (next.begin > from->begin + w->step) break;
        p = next;
    }
    return p;
}

static msim_span span_of(const ms_windows *w, const note_place *from, const note_place *end) {
    return (msim_span){.piece = -1,
                       .from_token = from->note ? at(w, from) : 0,
                       .to_token = end->begin < w->n_tokens ? end->begin : w->n_tokens,
                       .from_seconds = seconds(w, w->units[from->note].start),
                       .to_seconds = end->note < w->n_notes ? seconds(w, w->units[end->note].start)
                                                            : last_end(w, from->note)};
}

int64_t ms_windows_cut(const ms_windows *w, msim_span *spans, size_t cap) {
    const note_place last = find_last(w);
    note_place from = {.begin = 1}, end = {0};
    int64_t n = 0;
    while (from.note < last.note) {
        end = find_end(w, &from, &end);
        if ((size_t)n < cap) spans[n] = span_of(w, &from, &end);
        n++;
        from = find_next(w, &from, &end);
    }
    for (end = last; !is_cut_off(w, &end);) end = after(w, &end);
    if ((size_t)n < cap) {
        spans[n] = span_of(w, &last, &end);
        spans[n].to_token = w->n_tokens;
    }
    return n + 1;
}
