/* Sets of pitch classes as chords: stage 17 of docs/TOKENS.md for the family midisimx. A set is 12
 * bits, C first. It is in the list of 321 when no two of its classes are neighbours on the circle
 * of twelve. */
#ifndef MS_MIDI_CHORDS_CLASSES_H
#define MS_MIDI_CHORDS_CLASSES_H
#include <stdint.h>

enum { MS_CLASS_SETS = 1 << 12, MS_CHORDS_LISTED = 321 };

typedef struct {
    uint16_t kept;  /* the listed set that takes its place: itself, or a part of it */
    uint16_t index; /* of that set in the list */
} ms_class_set;

/* [MS_CLASS_SETS], by the bits of a set; the empty set has {0, 0}. Made at the first call, by one
 * thread; static storage. */
const ms_class_set *ms_class_sets(void);

#endif
