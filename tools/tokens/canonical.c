/* Contract: tools/tokens/canonical.h. Files one after the other: a file takes far less time than to
 * be read from a disk.
 *
 * A file that is there is left alone, and counts as done when it holds the same bytes. In a folder
 * a name that is taken becomes STEM_normalized.mid, as the original has it (which then writes over
 * that one). */
#include "canonical.h"
#include "base/hash/digest.h"
#include "base/mem.h"
#include "common/json.h"
#include "common/cli.h"
#include "common/tree.h"
#include "common/watch.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_SHOWN = 10 };

typedef struct {
    const ms_canonical_request *r;
    msim_tokenizer *tok; /* owned */
    ms_tree *tree;       /* owned; NULL when nothing is written into files */
    unsigned char *out;  /* owned: [cap] */
    size_t cap;
    ms_json_text line; /* owned */
    int64_t n_refused; /* files that were not written */
} canonical_run;

static void put(canonical_run *n, const char *text) { ms_json_put(&n->line, text, strlen(text)); }

static void put_field(canonical_run *n, const char *name, const char *value, size_t len) {
    put(n, n->line.n ? ",\"" : "{\"");
    put(n, name);
    put(n, "\":");
    ms_json_put_string(&n->line, value, len);
}

static int print_failure(canonical_run *n, const msim_walk_item *e, int reason,
                         const char *detail) {
    const char *name = msim_skip_reason_name(reason);
    ms_cli_skips_add(n->r->skips, e->path, reason, detail,
                     msim_skip_is_failure(reason, e->is_named) != 0);
    n->line.n = 0;
    put_field(n, "path", e->name, e->name_bytes);
    put_field(n, "error", name, strlen(name));
    put_field(n, "detail", detail, strlen(detail));
    put(n, "}\n");
    /* What --normalize-midi - prints is a file. */
    return n->r->out && strcmp(n->r->out, "-") == 0 ? 0 : ms_cli_write_json_text(&n->line);
}

/* A row name as the name of its file: bytes before the extension, and the extension [16]. */
static size_t split_name(const ms_canonical_request *r, const msim_walk_item *e, char *extension) {
    const char *name = e->name;
    size_t len = e->name_bytes, dot;
    strcpy(extension, ".mid");
    if (r->is_stem || e->is_stream) return len;
    /* it is written uncompressed */
    if (len > 3 && strncasecmp(name + len - 3, ".gz", 3) == 0) len -= 3;
    for (dot = len; dot > 0 && name[dot - 1] != '.' && name[dot - 1] != '/';) dot--;
    const bool has_one = dot > 1 && name[dot - 1] == '.' && name[dot - 2] != '/' && len - dot < 15;
    const size_t bare = has_one ? dot - 1 : len;
    memcpy(extension, name + bare, len - bare);
    extension[len - bare] = 0;
    return bare;
}

static int write_or_find(canonical_run *n, const char *path, const ms_put_part *part,
                         bool is_forced, msim_error *err) {
    int rc = ms_tree_write(n->tree, path, part, 1, is_forced, err);
    return rc == 0 && ms_tree_holds(n->tree, path, part->data, part->n, (int64_t)part->n) ? 1 : rc;
}

/* Write one normalised file. *written [owned]: its path. Returns 1, 0 when it is there already, <
 * 0. */
static int write_file(canonical_run *n, const msim_walk_item *e, const ms_put_part *part,
                      char **written, msim_error *err) {
    const ms_canonical_request *r = n->r;
    char extension[16];
    size_t bare;
    const char *slash = strrchr(r->out, '/'), *path = slash ? slash + 1 : r->out;
    int rc;
    if (!r->is_folder) {
        *written = ms_mem_copy_text(r->out, "path", err);
        return !*written ? -MSIM_E_MEMORY : write_or_find(n, path, part, r->is_forced, err);
    }
    size_t len = split_name(r, e, extension), room = strlen(r->out) + 1;
    while (room > 2 && r->out[room - 2] == '/') room--;
    path = ms_tree_claim(n->tree, e->name, len, extension, &bare, err);
    if (!path) return -MSIM_E_MEMORY;
    *written = ms_alloc(room + strlen(path) + 16 + sizeof extension, 1, "path", err);
    if (!*written) return -MSIM_E_MEMORY;
    char *inside = *written + room;
    memcpy(*written, r->out, room - 1);
    inside[-1] = '/';
    strcpy(inside, path);
    rc = write_or_find(n, inside, part, r->is_forced, err);
    if (rc) return rc;
    strcpy(inside + bare, "_normalized.mid");
    return write_or_find(n, inside, part, false, err);
}

/* What a file came to, as an object. */
static int print_object(canonical_run *n, const msim_walk_item *e, const ms_put_part *normal,
                        const char *written) {
    char before[33] = "", after[33] = "";
    n->line.n = 0;
    put_field(n, "path", e->name, e->name_bytes);
    if (n->r->has_md5) {
        msim_error err;
        if (ms_digest_hex_of(MS_DIGEST_MD5, e->bytes, e->n_bytes, before, &err) < 0 ||
            ms_digest_hex_of(MS_DIGEST_MD5, normal->data, normal->n, after, &err) < 0) {
            ms_cli_error("%s", err.text);
            return -1;
        }
        put_field(n, "midi_name", e->stem, e->stem_bytes);
        put_field(n, "original_md5", before, 32);
        put_field(n, "normalized_md5", after, 32);
    }
    if (written) put_field(n, "normalized", written, strlen(written));
    put(n, "}\n");
    return ms_cli_write_json_text(&n->line);
}

static bool reserve(canonical_run *n, size_t need) {
    if (need <= n->cap) return true;
    unsigned char *out = need == SIZE_MAX ? NULL : malloc(need);
    if (!out) return false;
    free(n->out);
    n->out = out;
    n->cap = need;
    return true;
}

/* One file. 1: it came out; 0: it gave nothing, which was said; < 0: standard output takes no
 * more. */
static int normalize_file(canonical_run *n, const msim_walk_item *e) {
    char *written = NULL;
    msim_error err = {.code = 0};
    int rc = 1;
    if (e->reason != MSIM_SKIP_NONE) return print_failure(n, e, e->reason, e->detail);
    if (!reserve(n, msim_midi_canonical_bound(e->n_bytes)))
        return print_failure(n, e, MSIM_SKIP_NO_MEMORY, "out of memory");
    int64_t len = msim_midi_canonical(n->tok, e->bytes, e->n_bytes, n->out, n->cap, &err);
    if (len < 0) {
        bool is_damaged = len == -MSIM_E_FORMAT;
        int reason = is_damaged ? msim_skip_reason_of_outcome(msim_tokenizer_outcome(n->tok))
                                : MSIM_SKIP_UNREADABLE;
        return print_failure(n, e, reason, err.text);
    }
    ms_put_part part = {.data = n->out, .n = (size_t)len};
    if (n->tree) {
        rc = write_file(n, e, &part, &written, &err);
        if (rc <= 0 && n->n_refused++ < MAX_SHOWN)
            ms_cli_error("%s%s", rc ? err.text : written,
                         rc ? "" : ": is there already, with other bytes");
    } else if (n->r->out) {
        if (ms_cli_write(part.data, part.n) < 0) return -1;
        return 1;
    }
    if (rc > 0 && print_object(n, e, &part, written) < 0)
        rc = -1;
    else if (rc < 0)
        rc = 0;
    ms_free(written);
    return rc;
}

/* The folder that files are written into: `out`, or the one that holds it. */
static int open_tree(canonical_run *n, msim_error *err) {
    const ms_canonical_request *r = n->r;
    if (!r->out || strcmp(r->out, "-") == 0) return 0;
    if (r->is_folder) return ms_tree_open(r->out, &n->tree, err);
    const char *slash = strrchr(r->out, '/');
    char *folder = ms_mem_copy_text(slash ? r->out : ".", "path", err);
    if (!folder) return -MSIM_E_MEMORY;
    if (slash) folder[slash == r->out ? 1 : slash - r->out] = 0;
    int rc = ms_tree_open(folder, &n->tree, err);
    ms_free(folder);
    return rc;
}

int ms_canonical_run(const ms_canonical_request *request, int64_t *n_done, msim_error *err) {
    canonical_run n = {.r = request};
    msim_walk_item item = {.size = sizeof item};
    msim_walk_stats stats = {.size = sizeof stats};
    int rc = msim_tokenizer_open(NULL, &n.tok, err);
    *n_done = 0;
    if (rc >= 0) rc = open_tree(&n, err);
    if (rc >= 0) rc = msim_walk_get_stats(request->walk, &stats);
    int state = 0;
    while (rc >= 0 && state >= 0 && !ms_cli_stopped() &&
           msim_walk_next(request->walk, &item, err) > 0) {
        state = normalize_file(&n, &item);
        *n_done += state > 0;
        ms_cli_progress("files", item.index + 1, stats.files);
    }
    ms_cli_progress_end();
    if (n.n_refused > MAX_SHOWN)
        ms_cli_error("%lld more files could not be written", (long long)n.n_refused - MAX_SHOWN);
    msim_tokenizer_close(n.tok);
    ms_tree_close(n.tree);
    free(n.out);
    ms_json_text_free(&n.line);
    return rc;
}
