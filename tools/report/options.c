/* What midisim-report may be asked. Contract: tools/report/report.h. */
#include "report.h"

#define AT(field) offsetof(ms_reporting_settings, field)

static const ms_cli_option options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(output),
     .help = "the report to write, one HTML file",
     .brief = "the report to write, one HTML file"},
    {.name = "index",
     .letter = 'i',
     .kind = MS_CLI_TEXT,
     .value = "INDEX",
     .offset = AT(index),
     .help = "find the pieces of this note index, or of this folder of MIDI files, that share "
             "notes with each QUERY, as midisim-find does",
     .brief = "find pieces here that share notes with QUERY"},
    {.name = "top",
     .letter = 'k',
     .kind = MS_CLI_INT,
     .value = "K",
     .min = 1,
     .max = 10000,
     .offset = AT(top),
     .help = "with -i: how many matches of each query, 1..10000 (default 16)",
     .brief = "with -i: how many matches (default 16)"},
    MS_CLI_ROW_EVALUE(ms_reporting_settings),
    {.name = "map",
     .kind = MS_CLI_TEXT,
     .value = "CORPUS",
     .offset = AT(map),
     .help = "draw a map of this corpus: a point for each piece, near to those that sound like it",
     .brief = "draw a map of this corpus"},
    {.name = "points",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 100000,
     .offset = AT(points),
     .help = "the most points of the map; of more pieces, every so many-th is one (default 5000)"},
    {.name = "layout",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(layout),
     .help =
         "with --map: where the points are, from a .npy of two numbers for each row of CORPUS, "
         "such as umap_layout of the Python package writes; without it, the map is of principal "
         "components"},
    MS_CLI_ROW_MIDI_ROOT(ms_reporting_settings, roots, "", "the folder with the MIDI files"),
    {.name = "title",
     .kind = MS_CLI_TEXT,
     .value = "TEXT",
     .offset = AT(title),
     .help = "the heading of the page"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-report -o versions.html song.mid cover.mid live.mid",
     "where the two others have notes of song.mid"},
    {"midisim-report -o found.html -i music/ song.mid",
     "pieces of a folder that share notes with song.mid"},
    {"midisim-report -o map.html --map corpus.npy --midi-root music",
     "a map of a corpus, to look around and listen"},
    {"midisim-search -c corpus.npy --find --midi-root music --html found.html song.mid",
     "the report of a search by notes and vectors"},
    {0}};

const ms_cli_tool ms_reporting_tool = {
    .name = "midisim-report",
    .purpose = "Writes what was found as one HTML file to see and hear, without a network.",
    .summary = "write an HTML report that shows and plays matches, and maps a corpus",
    .usage = "[options] -o FILE QUERY MATCH...\n[options] -o FILE -i INDEX QUERY...\n"
             "[options] -o FILE --map CORPUS",
    .description =
        "The report shows query and match as piano rolls on one axis of time, moved to one key and "
        "tempo. Notes that agree are lit. It plays both, and changes between them at the same "
        "musical place. Matches can be kept or rejected; the lists serve as --files-from and "
        "--exclude-from of other tools.\n\n"
        "Without -i the first file is compared with each other one, note by note. The option "
        "--html of midisim-search, midisim-find and midisim-groups writes reports of their "
        "results. docs/guide/report.md shows what is in one.",
    .examples = examples,
    .options = options,
    .exits = "something given could not be used; the report then says so",
    .has_no_kernels = true};

int ms_reporting_check(const ms_reporting_settings *s) {
    const size_t n = s->common.operands.n;
    if (!s->output) return ms_cli_usage("no report to write: give -o FILE");
    if (n == 0 && s->index) return ms_cli_usage("no query: give MIDI files that -i is to find");
    if (n == 0 && !s->map) return ms_cli_usage("nothing to show: give QUERY MATCH... or --map");
    if (n == 1 && !s->index)
        return ms_cli_usage("nothing to compare with: give more files, or -i INDEX");
    if (s->evalue < 0) return ms_cli_usage("--evalue: expected a number from 0 on");
    if (!s->index && (ms_cli_given(&ms_reporting_tool, s, "top") ||
                      ms_cli_given(&ms_reporting_tool, s, "evalue")))
        return ms_cli_usage("-k and --evalue are for -i: give that too");
    if (!s->map && ms_cli_given(&ms_reporting_tool, s, "points"))
        return ms_cli_usage("--points is for --map: give that too");
    if (!s->map && s->layout) return ms_cli_usage("--layout is for --map: give that too");
    return 0;
}
