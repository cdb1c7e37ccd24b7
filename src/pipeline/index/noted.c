/* Whose notes are known: pipeline/index/noted.h. */
#include "pipeline/index/noted.h"
#include <string.h>

int64_t ms_noted_piece(const msim_notes *index, const char *name, size_t name_bytes,
                       const unsigned char *content) {
    msim_notes_piece piece = {.size = sizeof piece};
    int64_t p = msim_notes_find_piece(index, name, name_bytes);
    for (; p >= 0 && msim_notes_get_piece(index, p, &piece) >= 0; p++) {
        if (piece.name_bytes != name_bytes || memcmp(piece.name, name, name_bytes) != 0) return -1;
        if (memcmp(piece.content, content, sizeof piece.content) == 0) return p;
    }
    return -1;
}

int64_t ms_noted_entry(const ms_manifest *in, size_t entry) {
    const ms_files_entry *e = in->files.entries + entry;
    if (!in->index || in->content[entry] == MS_DEDUP_NONE) return -1;
    const ms_dedup_entry content = ms_dedup_get(in->dedup, in->content[entry]);
    return ms_noted_piece(in->index, e->path + e->name_at, e->name_len, content.key);
}

bool ms_noted_lacks(const ms_manifest *in, size_t entry) {
    return in->wants_notes && in->content[entry] != MS_DEDUP_NONE &&
           ms_dedup_get_notes(in->dedup, in->content[entry]) == MS_NOTES_UNKNOWN &&
           ms_noted_entry(in, entry) < 0;
}

void ms_noted_forget(ms_manifest *in) {
    for (size_t i = 0; i < in->files.n; i++) {
        if (!ms_noted_lacks(in, i)) continue;
        in->content[i] = MS_DEDUP_NONE;
        in->n_kept--;
    }
}
