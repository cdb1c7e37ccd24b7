/* What midisim-serve may be asked. Contract: tools/serve/serve.h. */
#include "serve.h"

#define AT(field) offsetof(ms_serve_settings, field)

static const ms_cli_option options[] = {
    {.name = "port",
     .letter = 'p',
     .kind = MS_CLI_INT,
     .value = "PORT",
     .min = 0,
     .max = 65535,
     .offset = AT(port),
     .help = "the port to listen on (default 8117); 0: any that is free",
     .brief = "the port to listen on (default 8117)"},
    MS_CLI_ROW_MIDI_ROOT(ms_serve_settings, roots, "", "the folder with the MIDI files"),
    {.name = "notes",
     .kind = MS_CLI_TEXT,
     .value = "INDEX",
     .offset = AT(notes),
     .help = "the note index of the corpus (default: CORPUS.notes beside CORPUS.npy, where it is)",
     .brief = "the note index of the corpus"},
    {.name = "listen",
     .kind = MS_CLI_TEXT,
     .value = "ADDRESS",
     .offset = AT(listen),
     .help = "the address of this machine to listen on (default 127.0.0.1). With one that others "
             "reach, a new token is made, and each request must carry it"},
    {.name = "workers",
     .letter = 'w',
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 256,
     .offset = AT(workers),
     .help = "searches that run at the same time; they share the threads (default 2, or 1 with one "
             "thread)",
     .brief = "searches at the same time (default 2)"},
    {.name = "queue",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 10000,
     .offset = AT(queue),
     .help = "searches that may wait; one more is refused with status 503 (default 64)"},
    {.name = "max-body",
     .kind = MS_CLI_INT,
     .value = "MIB",
     .min = 1,
     .max = 1024,
     .offset = AT(max_body),
     .help = "the largest MIDI file that is accepted, in MiB (default 8)"},
    {.name = "max-seconds",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 86400,
     .offset = AT(max_seconds),
     .help = "a search that runs longer is ended with status 422 (default 120)"},
    MS_CLI_ROW_EVALUE(ms_serve_settings),
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-serve corpus.npy --midi-root music", "a page to search the corpus and to listen"},
    {"midisim-serve music/", "by notes alone: the pieces of a folder"},
    {"midisim-serve --port 0 corpus.npy", "on a free port, which is printed"},
    {"curl --data-binary @song.mid -H 'Content-Type: audio/midi' 'localhost:8117/api/search?k=5'",
     "a search from a shell"},
    {0}};

const ms_cli_tool ms_serve_tool = {
    .name = "midisim-serve",
    .purpose = "Serves a page on this machine on which a corpus is searched, seen and heard.",
    .summary = "serve a local page and a JSON API that search a corpus",
    .usage = "[options] CORPUS",
    .description =
        "CORPUS is a corpus of vectors, a note index (.notes), or a folder of MIDI files, whose "
        "notes are then indexed. The page takes a MIDI file, typed notes, or what is played on a "
        "keyboard, and shows and plays the matches as a report does. The address is printed.\n\n"
        "Only programs of this machine reach the server, and only pages that came from it. "
        "docs/guide/serve.md describes the page and the API.",
    .examples = examples,
    .options = options,
    .uses_model = true,
    .exits = "the corpus cannot be served, or the port is taken"};

int ms_serve_check(const ms_serve_settings *s) {
    if (s->common.operands.n == 0) return ms_cli_usage("nothing to serve: give CORPUS");
    if (s->common.operands.n > 1)
        return ms_cli_usage("expected one CORPUS, got %zu", s->common.operands.n);
    if (s->evalue < 0) return ms_cli_usage("--evalue: expected a number from 0 on");
    return 0;
}
