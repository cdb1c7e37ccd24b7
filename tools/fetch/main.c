/* midisim-fetch: the published models and corpora, into the folder where the tools look. The
 * options are parsed here, as every tool's are; weights/fetch.py does the work, with Python's
 * standard library, so that no program of this project carries a network client. */
#define _GNU_SOURCE
#include "base/system/program.h"
#include "common/cli.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    ms_cli_common common;
    const char *to, *revision;
    bool is_forced, is_all, is_list, sends_token_over_http;
} fetch_settings;

static fetch_settings s;

#define AT(field) .offset = offsetof(fetch_settings, field)
static const ms_cli_option options[] = {
    {.name = "to",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .help = "put the files into this folder (default: $XDG_DATA_HOME/midisim, else "
             "~/.local/share/midisim; for root PREFIX/share/midisim)",
     .brief = "put the files into this folder",
     AT(to)},
    {.name = "revision",
     .kind = MS_CLI_TEXT,
     .value = "REV",
     .help = "branch, tag or commit of the hub's repository (default main)",
     AT(revision)},
    {.name = "all",
     .kind = MS_CLI_FLAG,
     .help = "with corpus: fetch all of them",
     .brief = "with corpus: fetch all of them",
     AT(is_all)},
    {.name = "list",
     .kind = MS_CLI_FLAG,
     .help = "list the published corpora: name, bytes, the model and the pooling they were made "
             "with; tabs between them",
     .brief = "list the published corpora",
     AT(is_list)},
    {.name = "force",
     .kind = MS_CLI_FLAG,
     .help = "fetch again although the file is there",
     .brief = "fetch again although the file is there",
     AT(is_forced)},
    {.name = "token-over-http",
     .kind = MS_CLI_FLAG,
     .help = "send HF_TOKEN although HF_ENDPOINT is plain http, where others can read it",
     AT(sends_token_over_http)},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-fetch small", "the small model (99 MB), which the tools then use"},
    {"midisim-fetch large", "the large model; tools take it with -m FILE"},
    {"midisim-fetch midisimx-tiny",
     "the tiny model of midisimx (36 MB), with its corpus of 17,209 songs"},
    {"midisim-fetch --list", "the published corpora of vectors"},
    {"midisim-fetch corpus", "the corpus that the original downloads by default"},
    {"midisim-fetch midisim-26.1.18-py3-none-any.whl",
     "the small model out of a package that was carried over by hand"},
    {NULL, NULL}};

static const ms_cli_tool tool = {
    .name = "midisim-fetch",
    .purpose = "Downloads the published models and corpora to where the tools look for them.",
    .summary = "download the published models and corpora",
    .usage = "small | midisimx-tiny [--to DIR] [--force]\n"
             "large | midisimx-base [--to DIR] [--revision REV] [--force]\n"
             "corpus [NAME | --all] [--to DIR] [--revision REV] [--force]\n"
             "--list\n"
             "PATH [--to DIR]",
    .description =
        "The small model comes out of the Python package midisim 26.1.18, which pip downloads, or "
        "without pip from the hub that the original names. Its SHA-256 is known and must match. "
        "midisimx-tiny is the tiny model of the successor midisimx 26.10.26, out of its package, "
        "with the corpus of 17,209 songs that the package carries. PATH is one of these packages "
        "or its checkpoint: then nothing is downloaded.\n\n"
        "The large model, midisimx-base and the corpora come from the hub. Their size and SHA-256 "
        "must be those "
        "that the hub publishes. A download that was cut off goes on where it ended. The corpora "
        "are published under CC BY-NC-SA: not for commercial use.\n\n"
        "HF_ENDPOINT is another address of the hub. HF_TOKEN is sent to that address alone. With "
        "HF_HUB_OFFLINE=1 nothing is downloaded. Packages and checkpoints stay in "
        "$XDG_CACHE_HOME/midisim, else ~/.cache/midisim.",
    .examples = examples,
    .options = options,
    .has_no_kernels = true,
    .has_no_threads = true,
    .exits = "something could not be downloaded, is not what it should be, or could not be written",
};

#ifndef MSIM_PREFIX
#define MSIM_PREFIX "/usr/local"
#endif

/* Where the parts of this command are. */
typedef struct {
    char script[4200], convert[4200], system[4200];
} fetch_places;

/* In the source tree, or in an installation that may have been moved as a whole. */
static bool find_places(fetch_places *p) {
    char bin[4096], tree[4096];
    if (!ms_program_folder(bin, sizeof bin)) return false;
    snprintf(p->convert, sizeof p->convert, "%s/midisim-convert", bin);
    snprintf(p->system, sizeof p->system, "%s/share/midisim", MSIM_PREFIX);
    if (ms_program_tree(bin, tree, sizeof tree)) {
        snprintf(p->script, sizeof p->script, "%s/weights/fetch.py", tree);
        return access(p->script, R_OK) == 0;
    }
    char *slash = strrchr(bin, '/');
    if (!slash) return false;
    *slash = 0;
    snprintf(p->script, sizeof p->script, "%s/share/midisim/fetch/fetch.py", bin);
    snprintf(p->system, sizeof p->system, "%s/share/midisim", bin);
    return access(p->script, R_OK) == 0;
}

enum { MAX_WORDS = 4, MAX_ARGUMENTS = 32 };

/* Become fetch.py. Comes back only when that fails, with a status. */
static int run(const fetch_places *p) {
    const char *words[MAX_ARGUMENTS] = {"python3",   p->script,  "--name",   tool.name,
                                        "--convert", p->convert, "--system", p->system};
    size_t n = 8;
    if (s.to) words[n++] = "--to", words[n++] = s.to;
    if (s.revision) words[n++] = "--revision", words[n++] = s.revision;
    if (s.is_all) words[n++] = "--all";
    if (s.is_list) words[n++] = "--list";
    if (s.is_forced) words[n++] = "--force";
    if (s.common.quiet) words[n++] = "--quiet";
    if (s.sends_token_over_http) words[n++] = "--token-over-http";
    words[n++] = "--";
    for (size_t i = 0; i < s.common.operands.n; i++) words[n++] = s.common.operands.items[i];
    words[n] = NULL;
    execvp(words[0], (char *const *)words);
    ms_cli_error("cannot run: python3: %s: install it (apt-get install python3)", strerror(errno));
    return -MSIM_E_IO;
}

static int find_and_run(void) {
    static fetch_places p;
    if (s.common.operands.n > MAX_WORDS)
        return ms_cli_usage("%zu words: name one thing to fetch", s.common.operands.n);
    if (!find_places(&p)) {
        ms_cli_error("cannot find fetch.py: it belongs at %s: run make install again",
                     *p.script ? p.script
                               : "share/midisim/fetch beside the folder of this program");
        return -MSIM_E_IO;
    }
    return run(&p);
}

int main(int argc, char **argv) {
    int rc = ms_cli_parse(&tool, argc, argv, &s);
    return ms_cli_finish(rc == 0 ? find_and_run() : rc);
}
