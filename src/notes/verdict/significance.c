/* Significance: see significance.h. Constants are fitted on searches of one collection with queries
 * of another: docs/NOTES.md. */
#include "notes/verdict/significance.h"
#include <math.h>

/* Chance scores lie at FLOOR + FLOOR_PER_OCTAVE * log2(notes). */
#define FLOOR 5.1
#define FLOOR_PER_OCTAVE 3.17
/* ... among 7.8 million notes, and a little lower among fewer. */
#define FLOOR_SEARCHED 7.8e6
#define FLOOR_PER_SIZE 0.25
#define LEAST_SEARCHED 1000.0
#define FLOOR_LEAST_NOTES 4
#define FLOOR_MOST_NOTES 400
/* E is 0.1 at MIDDLE times the chance score, and a tenth of that for each further STEP. */
#define MIDDLE 1.15
#define STEP 0.33
/* So many times the floor is beyond what a decoy ever reached. */
#define CLEAR 6.0
/* Pitches are mirrored around 65. */
enum { MIRROR = 130 };

void ms_decoy_make(const msim_note *notes, size_t n, int decoy, msim_note *out) {
    uint32_t last = 0;
    for (size_t i = 0; i < n; i++)
        if (notes[i].start_ms > last) last = notes[i].start_ms;
    for (size_t i = 0; i < n; i++) {
        out[i] = notes[i];
        if (decoy != 1) out[i].start_ms = last - notes[i].start_ms;
        if (decoy != 0) {
            const int pitch = MIRROR - (notes[i].pitch & 127);
            out[i].pitch = (uint8_t)(pitch < 0 ? 0 : pitch > 127 ? 127 : pitch);
        }
    }
}

double ms_chance_floor(size_t n, uint64_t searched) {
    const double notes = n < FLOOR_LEAST_NOTES  ? FLOOR_LEAST_NOTES
                         : n > FLOOR_MOST_NOTES ? FLOOR_MOST_NOTES
                                                : (double)n;
    const double least = searched > LEAST_SEARCHED ? (double)searched : LEAST_SEARCHED;
    return FLOOR + FLOOR_PER_OCTAVE * log2(notes) + FLOOR_PER_SIZE * log2(least / FLOOR_SEARCHED);
}

double ms_chance_hits(double score, double decoy, size_t n, uint64_t searched) {
    const double floor = ms_chance_floor(n, searched);
    const double x = score / (decoy > floor ? decoy : floor);
    return fmax(pow(10, -1 - (x - MIDDLE) / STEP), MS_LEAST_EVALUE);
}

int ms_chance_is_clear(double score, size_t n, uint64_t searched) {
    return score > CLEAR * ms_chance_floor(n, searched);
}
