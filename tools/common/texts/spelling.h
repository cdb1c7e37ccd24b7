/* What a user may have meant by a word that is not known: the nearest of those that are. */
#ifndef MS_TOOLS_COMMON_TEXTS_SPELLING_H
#define MS_TOOLS_COMMON_TEXTS_SPELLING_H
#include <stddef.h>

/* How many edits (insert, delete, change, swap of neighbours) lead from a to b. Of each word the
 * first 255 bytes count. */
size_t ms_spelling_distance(const char *a, const char *b);
/* The most edits at which a word may still be meant. */
size_t ms_spelling_limit(const char *word);
/* When nothing of this path exists: up to three names in its folder that may be meant, the nearest
 * first, as "; did you mean a.npy or b.npy?". Otherwise text [cap] gets "". */
void ms_spelling_of_file(const char *path, char *text, size_t cap);

#endif
