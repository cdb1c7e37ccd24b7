/* Chords to token ids of midisimx: stage 17 of docs/TOKENS.md for that family. Nothing is
 * allocated. Each variant thins the chords anew: which note of a cluster goes depends on where the
 * pitch classes lie.
 *   0..127      start time: units of 32 ms since the chord before, 0 for the first
 *   128 + p     pitch p
 *   256 + d     a duration of d units
 *   384 + c     a chord of exactly one note, of pitch class c
 *   396 + i     a chord of several notes, number i in the list of 321 */
#include "midi/chords/chords.h"
#include "midi/chords/classes.h"
#include <string.h>

enum { PITCH_0 = 128, DURATION_0 = 256, CLASS_0 = 384, CHORD_0 = 396 };
enum { MOST_IDS = 2 + 2 * 127 }; /* of one chord */

static unsigned class_of(const ms_chord_note *note, int semitones) {
    return (unsigned)ms_tokens_move(note->pitch, semitones) % 12;
}

/* The pitch classes that are kept of a chord, moved by `semitones`. */
static const ms_class_set *thin(const ms_chord_note *notes, size_t n, int semitones) {
    unsigned set = 0;
    for (size_t i = 0; i < n; i++) set |= 1u << class_of(&notes[i], semitones);
    return &ms_class_sets()[set];
}

static uint8_t count_kept(const ms_token_piece *piece, size_t chord, int semitones) {
    const size_t n = piece->chords[chord].n_notes;
    const ms_chord_note *notes = piece->chord_notes + piece->chords[chord].first;
    const unsigned kept = thin(notes, n, semitones)->kept;
    unsigned n_kept = 0;
    for (size_t i = 0; i < n; i++) n_kept += kept >> class_of(&notes[i], semitones) & 1;
    return (uint8_t)n_kept;
}

static int64_t chord_ids(const ms_token_piece *piece, size_t chord, int semitones) {
    return 2 + 2 * (int64_t)count_kept(piece, chord, semitones);
}

static int64_t count(ms_token_piece *piece, int semitones) {
    int64_t n_ids = 0;
    for (size_t i = 0; i < piece->n_chords; i++) {
        piece->chords[i].n_kept = count_kept(piece, i, semitones);
        n_ids += 2 + 2 * (int64_t)piece->chords[i].n_kept;
    }
    return n_ids;
}

/* The notes that are kept, moved, highest pitch first; of equal pitches by rank. They are in order
 * but for pitches that clamping makes equal. Returns how many there are. */
static size_t sort_kept(const ms_chord_note *notes, size_t n, unsigned kept, int semitones,
                        ms_chord_note *out) {
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(kept >> class_of(&notes[i], semitones) & 1)) continue;
        ms_chord_note moving = notes[i];
        size_t at = n_out++;
        moving.pitch = (uint8_t)ms_tokens_move(moving.pitch, semitones);
        for (; at > 0 && out[at - 1].pitch == moving.pitch && out[at - 1].rank > moving.rank; at--)
            out[at] = out[at - 1];
        out[at] = moving;
    }
    return n_out;
}

/* The ids of one chord: ids [MOST_IDS]. Returns how many there are. */
static size_t write_chord(const ms_token_piece *piece, const ms_chord *chord, int semitones,
                          int32_t *ids) {
    ms_chord_note sorted[127];
    const ms_chord_note *notes = piece->chord_notes + chord->first;
    const ms_class_set *set = thin(notes, chord->n_notes, semitones);
    const size_t n = sort_kept(notes, chord->n_notes, set->kept, semitones, sorted);
    const int32_t id = n == 1 ? CLASS_0 + sorted[0].pitch % 12 : CHORD_0 + set->index;
    ids[piece->is_chord_first ? 0 : 1] = id;
    ids[piece->is_chord_first ? 1 : 0] = chord->step;
    for (size_t i = 0; i < n; i++) {
        ids[2 + 2 * i] = PITCH_0 + sorted[i].pitch;
        ids[3 + 2 * i] = DURATION_0 + sorted[i].duration;
    }
    return 2 + 2 * n;
}

static void write(const ms_token_piece *piece, int semitones, int64_t length, int32_t *ids) {
    int32_t own[MOST_IDS];
    int64_t done = 0;
    for (size_t c = 0; c < piece->n_chords && done < length; c++) {
        const ms_chord *chord = &piece->chords[c];
        const int64_t left = length - done, most = 2 + 2 * chord->n_notes;
        if (most <= left) {
            done += (int64_t)write_chord(piece, chord, semitones, ids + done);
            continue;
        }
        /* The cut may fall inside a chord. */
        const int64_t n = (int64_t)write_chord(piece, chord, semitones, own);
        memcpy(ids + done, own, (size_t)(n < left ? n : left) * sizeof *ids);
        done += n < left ? n : left;
    }
}

const ms_token_writer ms_tokens_midisimx = {
    .make = ms_chords_make, .count = count, .chord_ids = chord_ids, .write = write};
