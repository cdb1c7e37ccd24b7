/* midisim-embed --table: what each input came to. */
#ifndef MS_TOOLS_EMBED_TABLE_H
#define MS_TOOLS_EMBED_TABLE_H
#include "midisim.h"

/* Write the table of a detailed job that has written its corpus: a line of titles, then one line
 * for each piece in the order of the rows, then one for each input that gave no row. Whole or not
 * at all. */
int ms_embed_table_write(const char *path, const msim_job *job, msim_error *err);

#endif
