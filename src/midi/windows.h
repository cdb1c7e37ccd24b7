/* A piece cut into windows between its notes, or between its chords: where each begins and ends, in
 * tokens and in seconds. include/midisim.h, msim_tokenizer_windows. */
#ifndef MS_MIDI_WINDOWS_H
#define MS_MIDI_WINDOWS_H
#include "midi/tokens.h"

enum { MS_WINDOWS_LEAST = 4 }; /* tokens of a window: its beginning and one note */

typedef struct {
    const ms_token_piece *piece; /* borrowed: its chords are those of the tokens */
    int64_t n_tokens;            /* of the piece, as far as it is used */
    int64_t window_tokens, step;
} ms_windows;

/* The windows of a piece: spans [cap] gets the first of them. Returns how many there are. */
int64_t ms_windows_cut(const ms_windows *w, msim_span *spans, size_t cap);
/* The tokens of such spans in the variant that is moved by `semitones` and cut to max_seq_len.
 * `writer` is that of the piece's family; the spans are in order. */
void ms_windows_move(const ms_token_piece *piece, const ms_token_writer *writer, int semitones,
                     int64_t max_seq_len, const msim_span *spans, int64_t n, msim_span *out);

#endif
