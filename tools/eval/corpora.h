/* The corpora that midisim-eval measures: opened, or made of a folder of MIDI files first. */
#ifndef MS_TOOLS_EVAL_CORPORA_H
#define MS_TOOLS_EVAL_CORPORA_H
#include "eval.h"

/* Open a corpus. A folder without corpora in it is embedded: into the folder of --keep, where it is
 * found again, or into a temporary one that is removed. */
int ms_eval_corpus_open(const ms_eval_settings *set, const char *path, msim_corpus **out,
                        msim_error *err);

#endif
