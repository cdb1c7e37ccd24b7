/* What midisim-find may be asked. Contract: tools/find/find.h. */
#include "common/notes/html.h"
#include "common/texts/numbers.h"
#include "find.h"
#include <stdlib.h>

#define AT(field) offsetof(ms_find_settings, field)

/* An answer costs a few milliseconds (docs/NOTES.md, Streams), so it need not be rare: players give
 * some ten notes a second. Few matches are shown, for the next answer follows at once. */
enum { DEFAULT_EVERY = 4, STREAM_TOP = 3 };

static const ms_cli_option options[] = {
    {.name = "index",
     .letter = 'i',
     .kind = MS_CLI_TEXT,
     .value = "INDEX",
     .offset = AT(index),
     .help = "what to search: an index that midisim-index wrote, or a folder of MIDI files, whose "
             "index is then made and kept in the cache folder ($XDG_CACHE_HOME/midisim)",
     .brief = "what to search: an index, or a folder of MIDI files"},
    {.name = "notes",
     .kind = MS_CLI_TEXTS,
     .value = "PHRASE",
     .offset = AT(phrases),
     .help = "a query: notes as text, such as 'G4 G4 A4 G4 C5 B4:2'. A note is a letter with # or "
             "b and an octave (C4 is middle C), or a MIDI number. Behind ':' stand its beats; "
             "R is a rest, '+' joins the notes of a chord. May be repeated",
     .brief = "a query as text: 'G4 G4 A4 G4 C5 B4:2'"},
    {.name = "from",
     .kind = MS_CLI_TEXT,
     .value = "TIME",
     .offset = AT(from),
     .help = "use the query from this time on: seconds, or M:SS"},
    {.name = "to",
     .kind = MS_CLI_TEXT,
     .value = "TIME",
     .offset = AT(to),
     .help = "use the query up to this time"},
    {.name = "bars",
     .kind = MS_CLI_TEXT,
     .value = "A-B",
     .offset = AT(bars),
     .help = "use bars A to B of the query, counted from 1; A alone is one bar",
     .brief = "use these bars of the query"},
    {.name = "track",
     .kind = MS_CLI_TEXT,
     .value = "N|NAME",
     .offset = AT(track),
     .help = "use one track of the query: its number from 1, as MIDI files count tracks, or its "
             "name",
     .brief = "use this track of the query"},
    {.name = "top",
     .letter = 'k',
     .kind = MS_CLI_INT,
     .value = "K",
     .min = 1,
     .max = 10000,
     .offset = AT(top),
     .help = "how many matches of each query, 1..10000 (default 10; 3 with --stream)",
     .brief = "how many matches of each query (default 10)"},
    MS_CLI_ROW_EVALUE(ms_find_settings),
    MS_CLI_ROW_SAME_KEY(ms_find_settings),
    MS_CLI_ROW_SAME_TEMPO(ms_find_settings),
    {.name = "within",
     .kind = MS_CLI_TEXTS,
     .value = "PATTERN",
     .offset = AT(within),
     .help =
         "only pieces whose name fits the pattern, as in a shell ('*' also stands for '/'). May "
         "be repeated. E counts the hits that chance gives among these pieces"},
    {.name = "stream",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_stream),
     .help =
         "instead of queries: notes that come on standard input, matched as they come. A line is "
         "one note, ONSET PITCH [DURATION [CHANNEL]]: seconds, a MIDI number or a note as in "
         "--notes, seconds, 1..16. Behind # stands a comment. An answer is printed every few "
         "notes and at the end",
     .brief = "match notes that come on standard input"},
    {.name = "every",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 1,
     .max = 1000000,
     .offset = AT(every),
     .help = "with --stream: how many notes come between two answers (default 4)"},
    {.name = "window",
     .kind = MS_CLI_INT,
     .value = "N",
     .min = 8,
     .max = MSIM_STREAM_MAX_NOTES,
     .offset = AT(window),
     .help = "with --stream: how many notes count, the latest ones, 8..100000 (default 256)"},
    {.name = "pairs",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_pairs),
     .help =
         "instead of queries: each piece of the index against all others, quickly. Pairs that "
         "share less than a quarter of the shorter piece are left out, unless one passage alone "
         "shows that they belong together (155 bits)"},
    {.name = "groups",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_groups),
     .help = "the groups that these pairs make, as TSV: pieces of the same notes or the same piece "
             "are one group, and a part is shown with its whole"},
    MS_CLI_ROW_FILES_FROM(ms_find_settings),
    MS_CLI_ROW_NULL(ms_find_settings),
    {.name = "format",
     .kind = MS_CLI_CHOICE,
     .value = "table|tsv|json",
     .choices = "table|tsv|json",
     .offset = AT(format),
     .help = "table, tsv, or json (one object per query). Default: table on a terminal, else tsv"},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_json),
     .help = "the same as --format json",
     .brief = "print one JSON object per query"},
    {.name = "excerpts",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = AT(excerpts),
     .help = "write what agrees as small MIDI files: DIR/QUERY/RANK_NAME.mid has the passage of "
             "the match, RANK_query.mid that of the query"},
    {.name = "copy-to",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = AT(copy_to),
     .help = "copy the MIDI files of significant matches to DIR/QUERY, as RANK_NAME.mid. Without "
             "--midi-root the names of pieces are paths as they are"},
    MS_CLI_ROW_HTML(ms_find_settings),
    MS_CLI_ROW_MIDI_ROOT(ms_find_settings, roots, "with --copy-to and --html: ", NULL),
    {.name = "force",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_forced),
     .help = "--excerpts and --copy-to replace files that exist"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-find -i music.notes song.mid", "pieces that share notes with a file"},
    {"midisim-find -i music/ --bars 12-20 song.mid", "where else these bars are, below a folder"},
    {"midisim-find -i music.notes --track Melody song.mid", "the tune of one track alone"},
    {"midisim-find -i music.notes --notes 'E4 E4 F4 G4 G4 F4 E4 D4 C4 C4 D4 E4'",
     "which piece this is"},
    {"player | midisim-find -i music.notes --stream --json",
     "what is being played, one JSON line every four notes"},
    {"midisim-find -i music.notes --within 'bach/*' --excerpts out/ song.mid",
     "the passages that it shares with one folder's pieces, as MIDI files"},
    {0}};

const ms_cli_tool ms_find_tool = {
    .name = "midisim-find",
    .purpose = "Finds the pieces that share notes with a query, and where, in any key and tempo.",
    .summary = "find the pieces that share notes with a piece, a passage or a typed phrase",
    .usage = "[options] -i INDEX QUERY...\n[options] -i INDEX --notes PHRASE\n-i INDEX --stream\n"
             "-i INDEX --pairs | --groups",
    .description =
        "QUERY is a MIDI file, a folder, or - for standard input. Each match says how the two "
        "relate, where the passage is in both, how many notes agree, the transposition, the tempo, "
        "and E: how many hits as good chance would give. Matches with a larger E than --evalue "
        "stand below a line that says so.\n\n"
        "A phrase of 8 notes can never be certain among many pieces; from 30 notes on most are. "
        "docs/NOTES.md says more.",
    .examples = examples,
    .options = options,
    .exits = "no query has a significant match, or something given could not be used",
    .has_no_kernels = true};

/* ---- Texts ---- */

/* Seconds, M:SS or H:MM:SS, with decimals. */
static bool read_time(const char *text, double *out) {
    double sum = 0;
    for (int part = 0; part < 3; part++) {
        char *end;
        if (*text < '0' || *text > '9') return false;
        const double value = strtod(text, &end);
        sum = sum * 60 + value;
        if (*end == 0) {
            *out = sum;
            return sum < 1e7;
        }
        if (*end != ':') return false;
        text = end + 1;
    }
    return false;
}

static bool read_bars(ms_find_settings *s) {
    const char *last;
    if (!ms_cli_first_int(s->bars, '-', 1, INT32_MAX, &s->first_bar, &last)) return false;
    s->last_bar = s->first_bar;
    return !last || ms_cli_int(last, s->first_bar, INT32_MAX, &s->last_bar);
}

static int check_part(ms_find_settings *s) {
    s->from_seconds = s->to_seconds = -1;
    if (s->from && !read_time(s->from, &s->from_seconds))
        return ms_cli_usage("--from: expected seconds or M:SS, got %.80s", s->from);
    if (s->to && !read_time(s->to, &s->to_seconds))
        return ms_cli_usage("--to: expected seconds or M:SS, got %.80s", s->to);
    if (s->to && s->from && s->to_seconds <= s->from_seconds)
        return ms_cli_usage("--to: expected a time after --from, got %.80s", s->to);
    if (s->bars && (s->from || s->to))
        return ms_cli_usage("--bars and --from or --to both say which part: give one of them");
    if (s->bars && !read_bars(s))
        return ms_cli_usage("--bars: expected A-B with A from 1 and B from A on, got %.80s",
                            s->bars);
    return 0;
}

static int check_pairs(const ms_find_settings *s) {
    if (s->common.operands.n || s->files_from || s->phrases.n)
        return ms_cli_usage("--pairs and --groups take no query: the pieces of the index are it");
    if (s->from || s->to || s->bars || s->track || s->within.n || s->excerpts || s->copy_to ||
        s->html)
        return ms_cli_usage("--pairs and --groups compare whole pieces: leave out options of "
                            "queries, --within, --excerpts, --copy-to and --html");
    return 0;
}

static int check_stream(ms_find_settings *s) {
    const bool has_query = s->common.operands.n || s->files_from || s->phrases.n;
    if (!s->is_stream && (s->every || s->window))
        return ms_cli_usage("--every and --window are for --stream: give that too");
    if (!s->is_stream) return 0;
    if (has_query || s->is_pairs || s->is_groups)
        return ms_cli_usage("--stream reads its notes from standard input: leave out queries, "
                            "--pairs and --groups");
    if (s->from || s->to || s->bars || s->track || s->excerpts || s->copy_to || s->html)
        return ms_cli_usage("--stream matches all notes that come: leave out options of queries, "
                            "--excerpts, --copy-to and --html");
    if (!s->every) s->every = DEFAULT_EVERY;
    if (!ms_cli_given(&ms_find_tool, s, "top")) s->top = STREAM_TOP;
    return 0;
}

int ms_find_check(ms_find_settings *s) {
    const bool is_pairs = s->is_pairs || s->is_groups;
    if (!s->index) return ms_cli_usage("nothing to search: give -i INDEX");
    if (s->is_pairs && s->is_groups) return ms_cli_usage("--pairs and --groups: give one of them");
    if (is_pairs && check_pairs(s) < 0) return -MSIM_E_ARG;
    if (check_stream(s) < 0) return -MSIM_E_ARG;
    if (!is_pairs && !s->is_stream && s->common.operands.n == 0 && !s->files_from &&
        s->phrases.n == 0)
        return ms_cli_usage("no query: give a QUERY, --notes, --files-from or --stream");
    if (s->is_nul_separated && !s->files_from)
        return ms_cli_usage("-0 is for lists of files: give --files-from too");
    if (s->evalue < 0) return ms_cli_usage("--evalue: expected a number from 0 on");
    if (s->roots.n && !s->copy_to && !s->html)
        return ms_cli_usage("--midi-root is for --copy-to and --html: give one of them");
    if (s->is_forced && !s->copy_to && !s->excerpts)
        return ms_cli_usage("--force is for --excerpts and --copy-to: give one of them");
    if (s->is_json && ms_cli_given(&ms_find_tool, s, "format") && s->format != MS_FIND_JSON)
        return ms_cli_usage("--json and --format contradict each other: give one of them");
    if (s->is_json)
        s->format = MS_FIND_JSON;
    else if (!ms_cli_given(&ms_find_tool, s, "format"))
        s->format = ms_cli_is_terminal(1) ? MS_FIND_TABLE : MS_FIND_TSV;
    return check_part(s);
}
