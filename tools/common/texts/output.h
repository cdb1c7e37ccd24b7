/* Outputs that must not take the place of something else. */
#ifndef MS_TOOLS_COMMON_TEXTS_OUTPUT_H
#define MS_TOOLS_COMMON_TEXTS_OUTPUT_H
#include "base/status.h"

/* Before the work: refuse to write lines of text to `path` where that is a folder, a file of
 * another kind, such as a MIDI file that was named by mistake, or the list that the inputs are read
 * from. path NULL: nothing is to be written. list: that of --files-from, or NULL. */
int ms_cli_check_output(const char *path, const char *list, msim_error *err);

#endif
