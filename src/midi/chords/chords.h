/* Notes of a file to the chords of midisimx: stages 11 to 16 of docs/TOKENS.md for that family. */
#ifndef MS_MIDI_CHORDS_CHORDS_H
#define MS_MIDI_CHORDS_CHORDS_H
#include "midi/tokens.h"

/* Make a piece of the notes of stage 10, as ms_token_writer says. */
int ms_chords_make(ms_score *score, const ms_token_settings *settings, ms_arena *notes,
                   ms_arena *rest, ms_token_piece *out, int *outcome, msim_error *err);

#endif
