/* Whose notes are known, for a job that writes a note index beside its corpus: those of contents
 * that a journal has, and those of inputs that the index which is there already holds under the
 * same name, with the same content. */
#ifndef MS_PIPELINE_INDEX_NOTED_H
#define MS_PIPELINE_INDEX_NOTED_H
#include "pipeline/manifest.h"

/* The piece of that index with this name and content (the first 16 bytes of its SHA-256), or
 * -1. */
int64_t ms_noted_piece(const msim_notes *index, const char *name, size_t name_bytes,
                       const unsigned char *content);
/* The piece of an entry whose content is known, or -1. */
int64_t ms_noted_entry(const ms_manifest *manifest, size_t entry);
/* The content of the entry is known, its notes are wanted, and nobody knows them. */
bool ms_noted_lacks(const ms_manifest *manifest, size_t entry);
/* Forget the content of such entries, so that they are read. Call this before any journal, for
 * entries that the previous corpus settles; ms_manifest_settle does it later. */
void ms_noted_forget(ms_manifest *manifest);

#endif
