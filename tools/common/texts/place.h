/* Where something is in a piece: seconds, bars and beats as tables, TSV and JSON show them. */
#ifndef MS_TOOLS_COMMON_TEXTS_PLACE_H
#define MS_TOOLS_COMMON_TEXTS_PLACE_H
#include <stddef.h>
#include <stdint.h>

enum { MS_PLACE_CHARS = 112 }; /* room for any text of this file */

/* A beat in hundredths that never reaches the next whole beat: 4.998 is 4.99. */
double ms_place_beat(double beat);
/* "12:3.50": bar and beat, both from 1; "0:0.00": not known. */
void ms_place_bar(char text[MS_PLACE_CHARS], int64_t bar, double beat);
/* "1:05-1:38 bars 12-20": minutes and seconds, and the bars, if they are known (not 0), as --bars
 * takes them. */
void ms_place_passage(char text[MS_PLACE_CHARS], double from_seconds, double to_seconds,
                      int64_t first_bar, int64_t last_bar);

#endif
