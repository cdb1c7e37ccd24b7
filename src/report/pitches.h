/* The notes of a piece by pitch: which one of a pitch is nearest to a time, and which sound
 * together. However many notes meet at one time, no note looks at all of them. */
#ifndef MS_REPORT_PITCHES_H
#define MS_REPORT_PITCHES_H
#include "report/report.h"

enum { MS_REPORT_PITCHES = 128 };

/* All arrays are owned: ms_pitches_free. Start from {0}. `n` is piece->n_tuned. */
typedef struct {
    const ms_report_piece *piece; /* borrowed */
    int32_t *order;               /* [n] tuned notes by pitch, those of a pitch as they stand */
    int32_t *place;               /* [n] where each stands in `order` */
    size_t first[MS_REPORT_PITCHES + 1]; /* of each pitch in `order` */
    int32_t *next;   /* [n + 1] places: the next free one from here on, by way of others */
    int32_t *before; /* [n + 1] 1 + places: the last free one before here, likewise */
    int32_t *edges;  /* [n + 1] ranges of `order` that are lit: + 1 where one begins, - 1 behind */
} ms_pitches;

int ms_pitches_make(const ms_report_piece *piece, ms_pitches *out, msim_error *err);
void ms_pitches_free(ms_pitches *p);
/* All notes are free. */
void ms_pitches_release(ms_pitches *p);
/* The free note of that pitch that is nearest to ms, at most near_ms away; of two equally near
 * ones the first. Its number among the tuned notes, or -1. It is free no longer. */
int64_t ms_pitches_take(ms_pitches *p, int pitch, double ms, double near_ms);
/* Light a tuned note, and those of its pitch that begin within chord_ms. */
void ms_pitches_light(ms_pitches *p, int64_t tuned, uint32_t chord_ms);
/* lit [piece->n_notes], all 0 before: 1 for each note that is lit. */
void ms_pitches_lit(const ms_pitches *p, unsigned char *lit);

#endif
