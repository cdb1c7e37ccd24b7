/* Streams: see streams.h. */
#include "notes/seeds/streams.h"
#include "notes/constants.h"
#include <string.h>

static void close_stream(ms_streams *s, enum ms_stream_kind kind, size_t end) {
    s->kinds[s->n++] = (uint8_t)kind;
    s->starts[s->n] = end;
}

static size_t add_all(const ms_canon *c, ms_streams *s, size_t at) {
    for (size_t i = 0; i < c->n; i++) s->notes[at++] = (uint32_t)i;
    return at;
}

/* The top or bottom note of each group, left out while the last kept one is further out and goes on
 * sounding. Notes of a group stand in falling pitch. */
static size_t add_line(const ms_canon *c, bool is_top, ms_streams *s, size_t at) {
    const size_t first = at;
    for (size_t i = 0, next; i < c->n; i = next) {
        for (next = i + 1; next < c->n && c->group[next] == c->group[i]; next++) {
        }
        const size_t note = is_top ? i : next - 1;
        if (at > first) {
            const size_t last = s->notes[at - 1];
            const bool is_inside = is_top ? c->pitch[last] > c->pitch[note]
                                          : c->pitch[last] < c->pitch[note];
            if (is_inside && c->end[last] > c->time[note] + MS_SOUNDING_MS) continue;
        }
        s->notes[at++] = (uint32_t)note;
    }
    return at;
}

/* parts[voice_starts[v]] ..: the notes of voice v in canonical order. */
static uint32_t *sort_by_voice(const ms_canon *c, size_t *voice_starts, ms_arena *arena,
                               msim_error *err) {
    uint32_t *parts = ms_arena_get(arena, c->n_parts, sizeof *parts, "streams", err);
    if (!parts) return NULL;
    memset(voice_starts, 0, (c->n_voices + 2) * sizeof *voice_starts);
    for (size_t i = 0; i < c->n_parts; i++) voice_starts[c->part_voice[i] + 2]++;
    for (size_t v = 2; v < c->n_voices + 2; v++) voice_starts[v] += voice_starts[v - 1];
    for (size_t i = 0; i < c->n_parts; i++)
        parts[voice_starts[c->part_voice[i] + 1]++] = c->part_note[i];
    return parts;
}

/* A voice, and where it has chords also its top notes. */
static size_t add_voice(const ms_canon *c, const uint32_t *parts, size_t n, bool is_only,
                        ms_streams *s, size_t at) {
    const size_t first = at;
    for (size_t i = 0; i < n; i++)
        if (at == first || s->notes[at - 1] != parts[i]) s->notes[at++] = parts[i];
    const size_t n_notes = at - first;
    bool has_chords = false;
    for (size_t i = 1; i < n_notes && !has_chords; i++)
        has_chords = c->group[s->notes[first + i]] == c->group[s->notes[first + i - 1]];
    if (is_only)
        at = first; /* it is the stream of all notes */
    else
        close_stream(s, MS_STREAM_VOICE, at);
    if (!has_chords) return at;
    const uint32_t *from = s->notes + first;
    uint32_t last_group = UINT32_MAX;
    for (size_t i = 0; i < n_notes; i++) {
        const uint32_t note = from[i];
        if (c->group[note] != last_group) s->notes[at++] = note;
        last_group = c->group[note];
    }
    close_stream(s, MS_STREAM_VOICE, at);
    return at;
}

static int add_voices(const ms_canon *c, ms_streams *s, size_t at, ms_arena *arena,
                      msim_error *err) {
    size_t *starts = ms_arena_get(arena, c->n_voices + 2, sizeof *starts, "streams", err);
    const uint32_t *parts = starts ? sort_by_voice(c, starts, arena, err) : NULL;
    if (!parts) return -MSIM_E_MEMORY;
    size_t n_used = 0;
    for (size_t v = 0; v < c->n_voices; v++) n_used += starts[v + 1] > starts[v];
    for (size_t v = 0; v < c->n_voices; v++)
        if (starts[v + 1] > starts[v])
            at = add_voice(c, parts + starts[v], starts[v + 1] - starts[v], n_used == 1, s, at);
    return MSIM_OK;
}

int ms_streams_make(const ms_canon *c, bool has_bottom, ms_arena *arena, ms_streams *out,
                    msim_error *err) {
    const size_t most_notes = c->n + 2 * c->n_groups + 2 * c->n_parts;
    const size_t most = MS_STREAM_KINDS + 2 * c->n_voices;
    *out =
        (ms_streams){.notes = ms_arena_get(arena, most_notes, sizeof *out->notes, "streams", err)};
    if (out->notes)
        out->starts = ms_arena_get(arena, most + 1, sizeof *out->starts, "streams", err);
    if (out->starts) out->kinds = ms_arena_get(arena, most, sizeof *out->kinds, "streams", err);
    if (!out->kinds) return -MSIM_E_MEMORY;
    out->starts[0] = 0;
    size_t at = add_all(c, out, 0);
    close_stream(out, MS_STREAM_ALL, at);
    at = add_line(c, true, out, at);
    close_stream(out, MS_STREAM_TOP, at);
    if (has_bottom) {
        at = add_line(c, false, out, at);
        close_stream(out, MS_STREAM_BOTTOM, at);
    }
    return add_voices(c, out, at, arena, err);
}

int ms_streams_add_played(const ms_canon *c, ms_arena *arena, ms_streams *s, msim_error *err) {
    const size_t end = s->starts[s->n];
    ms_streams more = {.notes = ms_arena_get(arena, end + c->n, sizeof *s->notes, "streams", err),
                       .n = s->n};
    if (more.notes) more.starts = ms_arena_get(arena, s->n + 2, sizeof *s->starts, "streams", err);
    if (more.starts) more.kinds = ms_arena_get(arena, s->n + 1, 1, "streams", err);
    if (!more.kinds) return -MSIM_E_MEMORY;
    memcpy(more.notes, s->notes, end * sizeof *s->notes);
    memcpy(more.starts, s->starts, (s->n + 1) * sizeof *s->starts);
    memcpy(more.kinds, s->kinds, s->n);
    uint32_t *played = more.notes + end;
    for (size_t i = 0; i < c->n; i++) {
        size_t k = i;
        for (; k > 0 && c->onset[played[k - 1]] > c->onset[i]; k--) played[k] = played[k - 1];
        played[k] = (uint32_t)i;
    }
    close_stream(&more, MS_STREAM_ALL, end + c->n);
    *s = more;
    return MSIM_OK;
}
