/* What --find adds to midisim-search: the note index of the corpus, and for each query the pieces
 * that share more notes with it than chance gives. One thread. docs/SEARCH.md, Notes and
 * vectors. */
#ifndef MS_TOOLS_SEARCH_FOUND_H
#define MS_TOOLS_SEARCH_FOUND_H
#include "common/notes/asked.h"
#include "names.h"

typedef struct {
    const ms_search_settings *set; /* borrowed */
    msim_notes *notes;             /* owned, and so on; NULL: notes are not compared */
    msim_finder *finder;
    msim_note_reader *reader;
    unsigned char *within; /* [pieces]: 1 unless --exclude names it; NULL: all */
} ms_search_found;

/* Open the note index, where one is asked for. Without one, --find fails and says what makes it;
 * --find-if-there says that likeness alone is shown. `names` knows what is excluded. */
int ms_search_found_open(const ms_search_names *names, ms_search_found *out, msim_error *err);
void ms_search_found_close(ms_search_found *f);

/* The notes of a file that was read, with their matches: significant ones, at most K. Free `out`
 * also when this fails. */
int ms_search_found_file(ms_search_found *f, const msim_walk_item *file, ms_asked *out,
                         msim_error *err);
/* The same for the piece of this name. 0 when the index has none, else 1. */
int ms_search_found_piece(ms_search_found *f, const char *name, ms_asked *out, msim_error *err);

#endif
