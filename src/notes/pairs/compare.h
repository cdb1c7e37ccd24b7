/* Two pieces compared directly: all their words, without an index's filter of what is frequent.
 * What it says depends on the two pieces alone, but for E, which also knows how many notes there
 * are to find. It is the same whichever of the two asks. */
#ifndef MS_NOTES_PAIRS_COMPARE_H
#define MS_NOTES_PAIRS_COMPARE_H
#include <midisim.h>

/* As msim_comparer_compare. *mirrored, which may be NULL, gets the match of b as the query. */
int ms_compare_both(msim_comparer *comparer, int64_t a, int64_t b, msim_note_match *match,
                    msim_note_match *mirrored, msim_error *err);

#endif
