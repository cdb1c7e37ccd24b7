/* A piece cut into windows between its notes: where each begins and ends, in tokens and in
 * seconds. include/midisim.h, msim_tokenizer_windows. */
#ifndef MS_MIDI_WINDOWS_H
#define MS_MIDI_WINDOWS_H
#include "midi/tokens.h"

enum { MS_WINDOWS_LEAST = 4 }; /* tokens of a window: its beginning and one note */

typedef struct {
    const ms_token_note *notes; /* borrowed: [n_notes] */
    const ms_unit_note *units;  /* borrowed: [n_notes], the same notes with their times */
    size_t n_notes;
    uint64_t origin_ms; /* of the first note, from the beginning of the file */
    int64_t n_tokens;   /* of the piece, as far as it is used */
    int64_t window_tokens, step;
} ms_windows;

/* The windows of a piece: spans [cap] gets the first of them. Returns how many there are. */
int64_t ms_windows_cut(const ms_windows *w, msim_span *spans, size_t cap);
/* A time of a file whose times need wide integers, held at 2^63. */
static inline uint64_t ms_windows_ms(double ms) {
    return ms < 0x1p63 ? (uint64_t)ms : (uint64_t)1 << 63;
}

#endif
