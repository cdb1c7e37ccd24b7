/* Where in their pieces the rows of a corpus lie: the spans in the descriptions beside its files,
 * read when they are first asked for. Any thread. The public functions are those of
 * include/midisim.h, Corpus. */
#ifndef MS_CORPUS_SPANS_SPANS_H
#define MS_CORPUS_SPANS_SPANS_H
#include "corpus/corpus.h"

typedef struct ms_spans ms_spans;

/* Of a corpus that is being opened; nothing is read yet. */
int ms_spans_open(ms_spans **out, msim_error *err);
void ms_spans_close(ms_spans *spans);

/* The bars of the same rows (bars.c), which not every description has: read when they are
 * first asked for. */
typedef struct ms_span_bars ms_span_bars;

int ms_spans_open_bars(ms_span_bars **out, msim_error *err);
void ms_spans_close_bars(ms_span_bars *bars);

#endif
