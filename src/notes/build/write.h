/* Writes an index from its sources: pieces in order of name and content, postings merged. */
#ifndef MS_NOTES_BUILD_WRITE_H
#define MS_NOTES_BUILD_WRITE_H
#include "notes/build/feed.h"

/* Of pieces with one name and content the first one is written. The bytes depend on the pieces
 * alone, not on how sources share them. */
int ms_notes_write(const char *path, ms_feed *sources, size_t n_sources, int density,
                   int has_bottom, msim_error *err);

#endif
