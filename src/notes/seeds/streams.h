/* Streams: the lines of a piece that words are taken from. */
#ifndef MS_NOTES_SEEDS_STREAMS_H
#define MS_NOTES_SEEDS_STREAMS_H
#include "notes/seeds/canon.h"

enum ms_stream_kind {
    MS_STREAM_ALL,    /* M: all notes */
    MS_STREAM_TOP,    /* S: the sounding top line */
    MS_STREAM_VOICE,  /* T: one voice, or the top notes of one voice's chords */
    MS_STREAM_BOTTOM, /* B: the sounding bottom line */
    MS_STREAM_KINDS
};

/* Streams end to end: stream s has notes[starts[s]] .. notes[starts[s + 1] - 1], numbers of
 * canonical notes in ascending order. All arrays are the arena's. */
typedef struct {
    uint32_t *notes;
    size_t *starts; /* [n + 1] */
    uint8_t *kinds; /* [n] ms_stream_kind */
    size_t n;
} ms_streams;

int ms_streams_make(const ms_canon *canon, bool has_bottom, ms_arena *arena, ms_streams *out,
                    msim_error *err);
/* One more stream: all notes in order of their own onsets, as they were played, where a chord is
 * not closed and may be a fast passage. Of short queries: takes time n * n. */
int ms_streams_add_played(const ms_canon *canon, ms_arena *arena, ms_streams *streams,
                          msim_error *err);

#endif
