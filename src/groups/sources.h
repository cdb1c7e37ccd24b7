/* Between the files that read what is given. */
#ifndef MS_GROUPS_SOURCES_H
#define MS_GROUPS_SOURCES_H
#include "groups/groups.h"

/* The content of this hash, which may be new. */
int64_t ms_groups_add_content(msim_groups *g, const unsigned char *hash, msim_error *err);
/* Add a file: its texts are copied. */
int ms_groups_add_file(msim_groups *g, const ms_grouped_file *file, msim_error *err);
/* Open an index. */
int ms_groups_add_source(msim_groups *g, const char *path, msim_error *err);
/* Where the notes of a content are, unless that is known. */
void ms_groups_set_notes(msim_groups *g, int64_t content, size_t source, int64_t piece,
                         const msim_notes_piece *p);

/* files.c: the MIDI files of two collections, by paths. */
int ms_groups_read_files(msim_groups *g, const char *const *first, size_t n_first,
                         const char *const *second, size_t n_second, msim_error *err);

#endif
