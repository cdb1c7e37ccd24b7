/* midisim-embed --notes: the note index beside the corpus. */
#ifndef MS_TOOLS_EMBED_BESIDE_H
#define MS_TOOLS_EMBED_BESIDE_H
#include "embed.h"

/* With --notes, settings->index becomes CORPUS.notes of CORPUS.npy. Returns a status for
 * ms_cli_finish: 0 when that path has room. */
int ms_embed_name_index(ms_embed_settings *settings);
/* Say which of corpus and index a finished job has written. */
void ms_embed_say_written(const ms_embed_settings *settings, const msim_job_stats *stats);

#endif
