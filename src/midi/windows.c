/* Windows of a piece. See midi/windows.h.
 *
 *   0 | d p | s d p | d p | s d p | ...     midisim: 0 begins the piece; s: a step; d p: a note
 *   0 | c p d p d | s c p d | ...           midisimx: c: a chord; it and its notes stay together
 *
 * What stays together is a part: a note, or a chord. One walk over the parts with two places, both
 * of which only move forward: where the window in hand begins, and the first part behind it.
 * Nothing is allocated. */
#include "midi/windows.h"
#include <string.h>

#define UNIT_MS 32
#define MOST_MS ((uint64_t)UINT32_MAX) /* about 49 days: no later time is told */

static size_t n_parts(const ms_windows *w) {
    return w->piece->chords ? w->piece->n_chords : w->piece->n_notes;
}

/* 1 when a step stands in front of a part. What begins the piece stands in front of the first. */
static int64_t step_ids(const ms_windows *w, size_t part) {
    return w->piece->chords ? part > 0 : w->piece->notes[part].step != 0;
}

/* Its ids, those of its step too. */
static int64_t part_ids(const ms_windows *w, size_t part) {
    const int64_t n = w->piece->chords ? 1 + 2 * (int64_t)w->piece->chords[part].n_kept : 2;
    return n + step_ids(w, part);
}

static size_t first_note(const ms_windows *w, size_t part) {
    return w->piece->chords ? w->piece->chords[part].first : part;
}

static uint64_t start_of(const ms_windows *w, size_t part) {
    return w->piece->units[first_note(w, part)].start;
}

/* A part, and its first token: the step, where it has one. */
typedef struct {
    size_t part;
    int64_t begin;
} part_place;

/* Where a window begins that begins with this part: behind the step. */
static int64_t at(const ms_windows *w, const part_place *p) {
    return p->begin + step_ids(w, p->part);
}

static part_place after(const ms_windows *w, const part_place *p) {
    return (part_place){p->part + 1, p->begin + part_ids(w, p->part)};
}

/* True when nothing of the part is left. */
static bool is_cut_off(const ms_windows *w, const part_place *p) {
    return p->part >= n_parts(w) || at(w, p) >= w->n_tokens;
}

static double seconds(const ms_windows *w, uint64_t units) {
    const uint64_t origin = w->piece->origin_ms;
    uint64_t ms = units < MOST_MS / UNIT_MS && origin < MOST_MS ? origin + UNIT_MS * units
                                                                : MOST_MS;
    return (double)(ms < MOST_MS ? ms : MOST_MS) / 1000.0;
}

static double last_end(const ms_windows *w, size_t from) {
    uint64_t last = 0;
    for (size_t i = first_note(w, from); i < w->piece->n_notes; i++) {
        uint64_t end = w->piece->units[i].start + w->piece->units[i].duration;
        if (end > last) last = end;
    }
    return seconds(w, last);
}

/* Tokens of a window from `p` up to the token `to`, with the one that begins it. */
static int64_t length(const ms_windows *w, const part_place *p, int64_t to) {
    return 1 + to - at(w, p);
}

/* The earliest part from which a window reaches the end of the piece. */
static part_place find_last(const ms_windows *w) {
    part_place p = {.begin = 1};
    while (length(w, &p, w->n_tokens) > w->window_tokens) {
        part_place next = after(w, &p);
        if (is_cut_off(w, &next)) break;
        p = next;
    }
    return p;
}

/* The first part behind the window that begins at `from` and does not reach the end of the piece.
 * At least one part is in it. */
static part_place find_end(const ms_windows *w, const part_place *from,
                           const part_place *end_before) {
    part_place end = after(w, from);
    if (end_before->part > end.part) end = *end_before;
    for (;;) {
        part_place next = after(w, &end);
        if (length(w, from, next.begin) > w->window_tokens) return end;
        end = next;
    }
}

/* The last part that begins at most a step behind `from`: at least one part later, and not behind
 * the end of the window. */
static part_place find_next(const ms_windows *w, const part_place *from, const part_place *end) {
    part_place p = after(w, from);
    while (p.part < end->part) {
        part_place next = after(w, &p);
        if (next.begin > from->begin + w->step) break;
        p = next;
    }
    return p;
}

static msim_span span_of(const ms_windows *w, const part_place *from, const part_place *end) {
    return (msim_span){.piece = -1,
                       .from_token = from->part ? at(w, from) : 0,
                       .to_token = end->begin < w->n_tokens ? end->begin : w->n_tokens,
                       .from_seconds = seconds(w, start_of(w, from->part)),
                       .to_seconds = end->part < n_parts(w) ? seconds(w, start_of(w, end->part))
                                                            : last_end(w, from->part)};
}

int64_t ms_windows_cut(const ms_windows *w, msim_span *spans, size_t cap) {
    const part_place last = find_last(w);
    part_place from = {.begin = 1}, end = {0};
    int64_t n = 0;
    while (from.part < last.part) {
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

/* ---- In another variant ---- */

/* A chord, and where it begins: as the piece was counted, and in the other variant. */
typedef struct {
    size_t chord;
    int64_t here, there;
} chord_place;

/* Go on to the chord that a token is of; the end of the piece is behind the last. Returns the
 * token's place in the other variant: as far into the chord, or at the chord's end. */
static int64_t move_token(const ms_token_piece *piece, const ms_token_writer *writer, int semitones,
                          int64_t token, chord_place *p) {
    for (; p->chord < piece->n_chords; p->chord++) {
        const int64_t here = 2 + 2 * (int64_t)piece->chords[p->chord].n_kept,
                      there = writer->chord_ids(piece, p->chord, semitones),
                      inside = token - p->here;
        if (inside < here) return p->there + (inside < there ? inside : there);
        p->here += here;
        p->there += there;
    }
    return p->there;
}

static int64_t count_all(const ms_token_piece *piece, const ms_token_writer *writer,
                         int semitones) {
    int64_t n = 0;
    for (size_t i = 0; i < piece->n_chords; i++) n += writer->chord_ids(piece, i, semitones);
    return n;
}

void ms_windows_move(const ms_token_piece *piece, const ms_token_writer *writer, int semitones,
                     int64_t max_seq_len, const msim_span *spans, int64_t n, msim_span *out) {
    chord_place from = {0}, to = {0};
    if (out != spans && n > 0) memcpy(out, spans, (size_t)n * sizeof *out);
    if (!piece->chords) return;
    const int64_t most = ms_tokens_cut(count_all(piece, writer, semitones), max_seq_len);
    for (int64_t i = 0; i < n; i++) {
        msim_span *s = &out[i];
        s->from_token = move_token(piece, writer, semitones, s->from_token, &from);
        s->to_token = move_token(piece, writer, semitones, s->to_token, &to);
        if (s->from_token > most) s->from_token = most;
        if (s->to_token > most) s->to_token = most;
    }
}
