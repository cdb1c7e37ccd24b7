/* How far a long run is, as one line of text. */
#ifndef MS_TOOLS_COMMON_TEXTS_PROGRESS_H
#define MS_TOOLS_COMMON_TEXTS_PROGRESS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *unit;           /* borrowed: what done and all count */
    int64_t done, all;          /* all < 0: not known */
    int64_t before;             /* of these, done before this run began */
    int64_t tokens, tokens_all; /* of this run; tokens_all <= 0: not known */
    double seconds;             /* of this run */
} ms_progress;

/* "12s", "1m02s", "3h20m". */
void ms_progress_time(char *buf, size_t cap, double seconds);
/* How much of what this run has to do is done, 0..1, by tokens where all of them are known: files
 * differ in length. < 0: not known. */
double ms_progress_share(const ms_progress *p);
/* "[####----] 43 %  12/42 files  10,467 tokens/s  2s  3s left" into text [cap]. columns: of the
 * terminal, which decide about the bar; 0: for a log, without it. */
void ms_progress_text(const ms_progress *p, int columns, char *text, size_t cap);

#endif
