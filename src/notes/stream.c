/* Notes that arrive one by one: msim_notes_stream of include/midisim.h. An answer is a search for
 * the latest notes, which takes a few milliseconds (docs/NOTES.md, Streams). The finder keeps
 * decoded pieces and blocks of the index from one answer to the next, which is most of what two
 * answers have in common. */
#include "base/mem.h"
#include <string.h>

struct msim_notes_stream {
    msim_finder *finder; /* owned */
    msim_note *notes;    /* owned: [2 * window], of which [first .. first + n) count */
    size_t window, first, n;
    const msim_note_match *matches; /* the finder's: of the last answer */
    int64_t n_matches;
    bool is_answered; /* nothing came since */
};

int msim_notes_stream_open(const msim_notes *notes, const msim_finder_options *options,
                           int64_t window, msim_notes_stream **out, msim_error *err) {
    *out = NULL;
    if (window < 0 || window > MSIM_STREAM_MAX_NOTES)
        return ms_fail(err, MSIM_E_ARG, "stream: expected a window of 1..%d notes, got %lld",
                       MSIM_STREAM_MAX_NOTES, (long long)window);
    msim_notes_stream *s = ms_alloc(1, sizeof *s, "stream", err);
    if (!s) return -MSIM_E_MEMORY;
    s->window = window ? (size_t)window : MSIM_STREAM_NOTES;
    s->notes = ms_alloc(2 * s->window, sizeof *s->notes, "stream", err);
    int rc = s->notes ? msim_finder_open(notes, options, &s->finder, err) : -MSIM_E_MEMORY;
    if (rc < 0) {
        msim_notes_stream_close(s);
        return rc;
    }
    *out = s;
    return MSIM_OK;
}

void msim_notes_stream_close(msim_notes_stream *s) {
    if (!s) return;
    msim_finder_close(s->finder);
    ms_free(s->notes);
    ms_free(s);
}

/* Add one note, and forget the one that is now too old. */
static void add(msim_notes_stream *s, const msim_note *note) {
    if (s->n == s->window) {
        s->first++;
        s->n--;
    }
    if (s->first + s->n == 2 * s->window) {
        memmove(s->notes, s->notes + s->first, s->n * sizeof *s->notes);
        s->first = 0;
    }
    s->notes[s->first + s->n++] = *note;
}

int msim_notes_stream_push(msim_notes_stream *s, const msim_note *notes, size_t n,
                           msim_error *err) {
    for (size_t i = 0; i < n; i++)
        if (notes[i].pitch > 127 || notes[i].start_ms > MSIM_NOTE_MAX_MS)
            return ms_fail(
                err, MSIM_E_ARG,
                "stream: expected pitches up to 127 and onsets up to %d ms, got pitch %d "
                "at %lu ms",
                MSIM_NOTE_MAX_MS, notes[i].pitch, (unsigned long)notes[i].start_ms);
    for (size_t i = n > s->window ? n - s->window : 0; i < n; i++) add(s, &notes[i]);
    if (n) s->is_answered = false;
    return MSIM_OK;
}

size_t msim_notes_stream_notes(const msim_notes_stream *s, const msim_note **notes) {
    *notes = s->notes + s->first;
    return s->n;
}

int64_t msim_notes_stream_answer(msim_notes_stream *s, const msim_note_match **matches,
                                 msim_error *err) {
    if (!s->is_answered) {
        s->matches = NULL;
        s->n_matches = msim_finder_find(s->finder, s->notes + s->first, s->n, &s->matches, err);
        if (s->n_matches < 0) return s->n_matches;
        s->is_answered = true;
    }
    *matches = s->matches;
    return s->n_matches;
}
