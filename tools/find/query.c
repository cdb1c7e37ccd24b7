/* Queries of midisim-find: the notes of a piece that were asked for, and phrases. Contract:
 * tools/find/find.h. */
#include "base/mem.h"
#include "find.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- Which notes ---- */

/* The times that --from, --to or --bars mean, in ms: notes in [*from, *to). */
static int find_times(const ms_find_settings *s, const msim_piece_notes *p, double *from,
                      double *to, msim_error *err) {
    *from = s->from_seconds >= 0 ? s->from_seconds * 1000 : 0;
    *to = s->to_seconds >= 0 ? s->to_seconds * 1000 : (double)MSIM_NOTE_MAX_MS + 1;
    if (!s->bars) return 0;
    if (p->n_bars == 0)
        return ms_fail(err, MSIM_E_EMPTY, "--bars: the query has no bars: give --from and --to");
    if (s->first_bar > (int64_t)p->n_bars)
        return ms_fail(err, MSIM_E_EMPTY, "--bars: the query has %zu bars", p->n_bars);
    *from = p->bars[s->first_bar - 1].start_ms;
    if (s->last_bar < (int64_t)p->n_bars) *to = p->bars[s->last_bar].start_ms;
    return 0;
}

static bool is_track(const char *wanted, const msim_voice *voice) {
    int64_t number;
    if (ms_cli_int(wanted, 1, UINT16_MAX + 1, &number) && voice->track == number - 1) return true;
    const size_t n = strlen(wanted);
    return n == voice->name_bytes && strncasecmp(wanted, voice->name, n) == 0;
}

/* The tracks of a piece, for a message. */
static int no_such_track(const char *wanted, const msim_piece_notes *p, msim_error *err) {
    char text[300] = "";
    size_t at = 0;
    for (size_t v = 0; v < p->n_voices && at < sizeof text - 80; v++) {
        if (v > 0 && p->voices[v].track == p->voices[v - 1].track) continue;
        at += (size_t)snprintf(
            text + at, sizeof text - at, "%s%d %.*s", at ? ", " : "", p->voices[v].track + 1,
            (int)(p->voices[v].name_bytes < 40 ? p->voices[v].name_bytes : 40), p->voices[v].name);
    }
    return ms_fail(err, MSIM_E_EMPTY, "--track: no notes on '%.80s'; tracks with notes: %s", wanted,
                   text);
}

/* Leave out the notes that were not asked for. */
static int choose_notes(const ms_find_settings *s, const msim_piece_notes *p, ms_asked *q,
                        msim_error *err) {
    double from, to;
    bool has_track = false;
    int rc = find_times(s, p, &from, &to, err);
    if (rc < 0) return rc;
    q->n_notes = 0;
    for (size_t i = 0; i < p->n_notes; i++) {
        const msim_note *note = &p->notes[i];
        if (s->track && !is_track(s->track, &p->voices[note->voice])) continue;
        has_track = true;
        if (note->start_ms >= from && note->start_ms < to) q->notes[q->n_notes++] = *note;
    }
    if (!has_track) return no_such_track(s->track, p, err);
    return q->n_notes ? 0 : ms_fail(err, MSIM_E_EMPTY, "no notes in this part of the query");
}

int ms_find_take(const ms_find_settings *s, const char *label, size_t label_bytes,
                 const msim_piece_notes *p, ms_asked *q, msim_error *err) {
    int rc = ms_asked_take(label, label_bytes, p, q, err);
    return rc < 0 ? rc : choose_notes(s, p, q, err);
}

int ms_find_take_phrase(const char *text, ms_asked *q, msim_error *err) {
    *q = (ms_asked){0};
    const int64_t n = msim_notes_parse(text, NULL, 0, err);
    if (n < 0) return (int)n;
    q->label = ms_mem_copy_text(text, "a phrase", err);
    q->notes = q->label ? ms_alloc((size_t)n, sizeof *q->notes, "notes", err) : NULL;
    q->voices = q->notes ? ms_alloc(1, sizeof *q->voices, "voices", err) : NULL;
    if (!q->voices) return -MSIM_E_MEMORY;
    q->n_notes = (size_t)msim_notes_parse(text, q->notes, (size_t)n, err);
    q->voices[0].name = ms_mem_copy_text("", "a name", err);
    q->n_voices = 1;
    return q->voices[0].name ? 0 : -MSIM_E_MEMORY;
}
