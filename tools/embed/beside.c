/* The note index beside a corpus, as the user sees it. Contract: tools/embed/beside.h. */
#include "beside.h"
#include "common/notes/open.h"
#include <unistd.h>

int ms_embed_name_index(ms_embed_settings *s) {
    if (!s->has_notes || ms_noteindex_beside(s->output, s->index, sizeof s->index)) return 0;
    return ms_cli_usage("-o: expected a path of at most %zu bytes with --notes", sizeof s->index);
}

void ms_embed_say_written(const ms_embed_settings *s, const msim_job_stats *stats) {
    const char *const unchanged = "%s is up to date: nothing to write";
    char pieces[32], index[sizeof s->index];
    ms_cli_note(stats->is_corpus_unchanged ? unchanged : "wrote %s", s->output);
    if (!s->has_notes) {
        if (!stats->is_corpus_unchanged && ms_noteindex_beside(s->output, index, sizeof index) &&
            access(index, F_OK) == 0)
            ms_cli_warning("%s is left as it was; --notes brings it up to date too", index);
    } else if (stats->is_index_unchanged) {
        ms_cli_note(unchanged, s->index);
    } else if (stats->indexed || s->n_shards) {
        ms_cli_note("wrote %s: %s piece%s", s->index, ms_cli_count(pieces, stats->indexed),
                    ms_cli_plural(stats->indexed));
    }
}
