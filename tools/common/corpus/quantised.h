/* The codes of a corpus that midisim-search --prepare wrote: attached where they are and fit. */
#ifndef MS_TOOLS_COMMON_CORPUS_QUANTISED_H
#define MS_TOOLS_COMMON_CORPUS_QUANTISED_H
#include "base/status.h"
#include <stdbool.h>
#include <stdint.h>

/* Attach the file of codes to a part. 1: attached and of the wanted codec (msim_scan); 0: there is
 * no file, or it has not that codec; < 0: the file is there and does not fit. */
int ms_quantised_attach(msim_corpus *corpus, int64_t part, int codec, const char *path,
                        bool is_full, msim_error *err);
/* Codes are there and do not fit: said once, whatever the number of parts. */
void ms_quantised_say_ignored(const char *why, const char *hint, bool *is_said);
/* Attach what lies beside each part, PART.msim. A search never depends on codes: what does not fit
 * is said and left alone. Fails when memory runs out. */
int ms_quantised_attach_beside(msim_corpus *corpus, int codec, msim_error *err);

#endif
