/* What midisim-groups may be asked. Contract: tools/groups/groups.h. */
#include "base/mem.h"
#include "base/text/lines.h"
#include "common/notes/html.h"
#include "groups.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) offsetof(ms_grouping_settings, field)

static const ms_cli_option options[] = {
    {.name = "kinds",
     .kind = MS_CLI_TEXT,
     .value = "LIST",
     .offset = AT(kinds),
     .help = "kinds of pairs that make groups: bytes,notes,key,piece,version,excerpt, or all "
             "(default bytes,notes,key,piece). An excerpt goes to the group of its whole and "
             "joins nothing. With --leaks and --against: the kinds that are shown (default all)",
     .brief = "kinds of pairs (default bytes,notes,key,piece)"},
    {.name = "link",
     .kind = MS_CLI_TEXT, /* to say what was meant by a folder */
     .value = "verified|complete|single",
     .offset = AT(link_text),
     .help = "how pairs make groups. verified, the default: every file was compared with the one "
             "that is kept. complete: every two files of a group are a pair. single: what a chain "
             "of pairs connects"},
    {.name = "keep",
     .kind = MS_CLI_TEXT,
     .value = "RULE|FILE",
     .offset = AT(keep),
     .help = "which file of a group is kept: longest (default), most-notes, most-tracks, "
             "earliest-name, newest, or a FILE of names and patterns, one per line, best first. "
             "Of equal ones the first by name",
     .brief = "which file is kept: longest, most-notes, ..."},
    {.name = "all",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_all),
     .help = "also list files that are alone, each as a group of one"},
    {.name = "keep-list",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(keep_list),
     .help = "write the files that are kept, and those that are alone, one path per line, as "
             "--files-from takes them; with -0 each path ends in NUL",
     .brief = "write the paths of the files to keep"},
    {.name = "drop-list",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(drop_list),
     .help = "write the other files of the groups",
     .brief = "write the paths of the others"},
    {.name = "move",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = AT(move),
     .help = "move the files that are not kept to DIR, a new folder, under their names. "
             "DIR/undo.sh moves them back",
     .brief = "move the others to a new folder, with undo.sh"},
    {.name = "links",
     .kind = MS_CLI_TEXT,
     .value = "DIR",
     .offset = AT(links),
     .help = "make a new folder of symbolic links to the files that are kept or alone"},
    {.name = "dry-run",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_dry),
     .help = "say what --move and --links would do, and do nothing"},
    {.name = "split",
     .kind = MS_CLI_TEXT,
     .value = "A/B/C",
     .offset = AT(split),
     .help =
         "deal all files to sides of these shares instead, such as 80/10/10, so that no pair "
         "of any kind is on two sides. Prints the side and the group of each file. What is related "
         "is dealt as a whole: a side may get less than its share, and in a small collection "
         "nothing, which is said",
     .brief = "split 80/10/10, related files on one side"},
    {.name = "seed",
     .kind = MS_CLI_INT,
     .value = "N",
     .max = INT64_MAX,
     .offset = AT(seed),
     .help = "with --split: another number deals otherwise (default 0)"},
    {.name = "stratify",
     .kind = MS_CLI_CHOICE,
     .value = "none|folders",
     .choices = "none|folders",
     .offset = AT(stratify),
     .help = "with --split: folders deals each first folder of the names by itself"},
    {.name = "split-by",
     .kind = MS_CLI_CHOICE,
     .value = "files|notes",
     .choices = "files|notes",
     .offset = AT(split_by),
     .help = "with --split: what the shares count, files (default) or their notes"},
    {.name = "lists",
     .kind = MS_CLI_TEXT,
     .value = "PREFIX",
     .offset = AT(lists),
     .help = "with --split: write PREFIX.train.txt and so on, paths as --files-from takes them"},
    {.name = "leaks",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_leaks),
     .help = "the operands are TRAIN and TEST: which files of TEST are in TRAIN. The exit code is "
             "3 when there are any, 0 when there are none",
     .brief = "TRAIN TEST: what is in both; exit code 3 if any"},
    {.name = "against",
     .kind = MS_CLI_TEXTS,
     .value = "OTHER",
     .offset = AT(against),
     .help = "which files of OTHER, a second collection, are in the first. May be repeated"},
    {.name = "alike",
     .kind = MS_CLI_REAL,
     .value = "COSINE",
     .offset = AT(alike),
     .help = "also pairs of rows of the given corpora whose vectors have this cosine or more, "
             "0..1, as kind alike, which then joins groups. Whitened corpora tell pieces apart "
             "better (midisim-convert --whiten)"},
    {.name = "pairs",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(pairs),
     .help = "write all pairs with their evidence, as TSV. Files of one content, and of the same "
             "notes, are paired with the first of them alone"},
    MS_CLI_ROW_EVALUE(ms_grouping_settings),
    MS_CLI_ROW_HTML(ms_grouping_settings),
    MS_CLI_ROW_MIDI_ROOT(ms_grouping_settings, roots,
                         "with --html, for an index or a corpus: ", NULL),
    {.name = "state",
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(state),
     .help = "where found pairs are kept for the next run. Default: INDEX.pairs beside an index, "
             "for files the cache folder ($XDG_CACHE_HOME/midisim)"},
    MS_CLI_ROW_FILES_FROM(ms_grouping_settings),
    MS_CLI_ROW_NULL(ms_grouping_settings),
    MS_CLI_ROW_SKIPPED(ms_grouping_settings),
    {.name = "output",
     .letter = 'o',
     .kind = MS_CLI_TEXT,
     .value = "FILE",
     .offset = AT(output),
     .help = "write the result to FILE instead of standard output"},
    {.name = "format",
     .kind = MS_CLI_CHOICE,
     .value = "table|tsv|json",
     .choices = "table|tsv|json",
     .offset = AT(format),
     .help = "table, tsv, or json (one object per group). Default: table on a terminal, else tsv"},
    {.name = "tsv", .kind = MS_CLI_FLAG, .offset = AT(is_tsv), .help = "the same as --format tsv"},
    {.name = "json",
     .kind = MS_CLI_FLAG,
     .offset = AT(is_json),
     .help = "the same as --format json",
     .brief = "print one JSON object per group"},
    {0}};

static const ms_cli_example examples[] = {
    {"midisim-groups music/", "what is there more than once"},
    {"midisim-groups --keep most-notes --drop-list drop.txt music/",
     "a list of files to leave out"},
    {"midisim-groups --move dropped music/", "move them away; sh dropped/undo.sh takes it back"},
    {"midisim-groups --split 80/10/10 --lists data music/",
     "data.train.txt, data.valid.txt and data.test.txt"},
    {"midisim-groups --leaks train/ test/", "is anything of one in the other?"},
    {"midisim-groups --kinds all --link single --json music.notes", "everything that is related"},
    {0}};

const ms_cli_tool ms_grouping_tool = {
    .name = "midisim-groups",
    .purpose = "Finds the files that are the same music, groups them, and splits collections.",
    .summary = "group files that are the same music; clean and split a collection",
    .usage = "[options] PATH...\n[options] --split A/B/C PATH...\n[options] --leaks TRAIN TEST",
    .description =
        "PATH is a folder, a MIDI file, a note index (NAME.notes) or a corpus (NAME.npy) with its "
        "index beside it. Kinds of pairs, the strongest first: bytes (the same content), notes "
        "(the same notes in other files), key (in another key or at another tempo), piece (most "
        "notes agree), version (a good part agrees), excerpt (one is a part of the other).\n\n"
        "Nothing is moved without --move, and nothing is ever deleted. What was found is kept: "
        "the next run compares new files alone, and a run that was stopped goes on. "
        "docs/guide/duplicates.md and docs/guide/splits.md say more.",
    .examples = examples,
    .options = options,
    .exits = "something given could not be used; 3: --leaks has found some",
    .has_no_kernels = true};

/* ---- Texts ---- */

static bool add_kind(const char *word, size_t n, int *bits) {
    for (int k = MSIM_PAIR_BYTES; k < MSIM_PAIR_COUNT; k++) {
        const char *name = msim_pair_kind_name(k);
        if (strlen(name) != n || strncmp(name, word, n) != 0) continue;
        *bits |= 1 << k;
        return true;
    }
    return false;
}

static int read_kinds(ms_grouping_settings *s) {
    const bool is_all = s->kinds && strcmp(s->kinds, "all") == 0;
    msim_groups_options o = msim_groups_options_default();
    s->kind_bits = o.kinds;
    if (is_all || (!s->kinds && (s->is_leaks || s->against.n)))
        s->kind_bits = (1 << MSIM_PAIR_COUNT) - 2;
    if (s->alike > 0) s->kind_bits |= 1 << MSIM_PAIR_ALIKE;
    if (is_all || !s->kinds) return 0;
    s->kind_bits = s->alike > 0 ? 1 << MSIM_PAIR_ALIKE : 0;
    for (const char *word = s->kinds, *end; word; word = *end ? end + 1 : NULL) {
        end = word + strcspn(word, ",");
        if (!add_kind(word, (size_t)(end - word), &s->kind_bits))
            return ms_cli_usage("--kinds: expected bytes, notes, key, piece, version, excerpt or "
                                "all, with commas between, got %.*s",
                                (int)(end - word), word);
    }
    return 0;
}

/* Names for the life of the process. */
static int read_preferences(ms_grouping_settings *s, msim_error *err) {
    ms_lines lines;
    const char *line;
    size_t n;
    int rc = ms_lines_open(&lines, s->keep, '\n', err);
    while (rc >= 0 && (rc = ms_lines_next(&lines, &line, &n, err)) > 0) {
        char *copy = n ? ms_mem_copy_text(line, "a name", err) : NULL;
        if (n) rc = copy ? ms_cli_texts_add(&s->preferences, copy) : -MSIM_E_MEMORY;
    }
    ms_lines_close(&lines);
    return rc;
}

static int read_link(ms_grouping_settings *s) {
    static const char *const rules[] = {"verified", "complete", "single"};
    if (!s->link_text) return 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(s->link_text, rules[i]) == 0) {
            s->link = i;
            return 0;
        }
    return ms_cli_usage("--link: expected verified, complete or single, got %.200s; a folder of "
                        "links is --links DIR",
                        s->link_text);
}

static int read_keep(ms_grouping_settings *s) {
    static const char *const rules[] = {"longest", "most-notes", "most-tracks", "earliest-name",
                                        "newest"};
    if (!s->keep) return 0;
    for (int i = 0; i < 5; i++)
        if (strcmp(s->keep, rules[i]) == 0) {
            s->keeper = i;
            return 0;
        }
    if (access(s->keep, F_OK) != 0)
        return ms_cli_usage("--keep: expected longest, most-notes, most-tracks, earliest-name, "
                            "newest or a file, got %.200s",
                            s->keep);
    msim_error err = {0};
    s->keeper = MSIM_KEEPER_PREFERENCES;
    int rc = read_preferences(s, &err);
    if (rc < 0) {
        ms_cli_error("%s", err.text);
        return rc;
    }
    if (s->preferences.n == 0) return ms_cli_usage("--keep: no name in %.200s", s->keep);
    return 0;
}

static int read_shares(ms_grouping_settings *s) {
    const char *at = s->split;
    while (at) {
        char *end;
        const double share = strtod(at, &end);
        if (end == at || !(share > 0) || share > 1e9 || (*end && *end != '/') ||
            s->n_sides == MS_GROUPS_MAX_SIDES)
            return ms_cli_usage("--split: expected 2 to 16 positive numbers with / between, such "
                                "as 80/10/10, got %.80s",
                                s->split);
        s->shares[s->n_sides++] = share;
        at = *end ? end + 1 : NULL;
    }
    if (s->n_sides == 1)
        return ms_cli_usage("--split: expected 2 shares or more, such as 90/10, got %.80s",
                            s->split);
    return 0;
}

/* ---- Combinations ---- */

static int check_format(ms_grouping_settings *s) {
    const bool is_given = ms_cli_given(&ms_grouping_tool, s, "format");
    if (s->is_json && s->is_tsv) return ms_cli_usage("--json and --tsv: give one of them");
    if ((s->is_json && is_given && s->format != MS_GROUPS_JSON) ||
        (s->is_tsv && is_given && s->format != MS_GROUPS_TSV))
        return ms_cli_usage("--json, --tsv and --format contradict each other: give one of them");
    if (s->is_json || s->is_tsv)
        s->format = s->is_json ? MS_GROUPS_JSON : MS_GROUPS_TSV;
    else if (!is_given)
        s->format = !s->output && ms_cli_is_terminal(1) ? MS_GROUPS_TABLE : MS_GROUPS_TSV;
    return 0;
}

static int check_two(const ms_grouping_settings *s) {
    if (s->is_leaks && (s->common.operands.n != 2 || s->against.n || s->files_from))
        return ms_cli_usage("--leaks: expected two operands, TRAIN and TEST");
    if ((s->is_leaks || s->against.n) &&
        (s->split || s->move || s->links || s->keep || s->keep_list || s->drop_list || s->is_all ||
         s->link_text))
        return ms_cli_usage("--leaks and --against make no groups: leave out --link, --keep, "
                            "--all, lists, --split, --move and --links");
    return 0;
}

static int check_split(const ms_grouping_settings *s) {
    const bool has_more = ms_cli_given(&ms_grouping_tool, s, "seed") || s->stratify ||
                          s->split_by || s->lists;
    if (!s->split && has_more)
        return ms_cli_usage(
            "--seed, --stratify, --split-by and --lists are for --split: give that too");
    if (s->split && (s->move || s->links || s->keep_list || s->drop_list || s->keep || s->kinds ||
                     s->is_all || s->link_text))
        return ms_cli_usage("--split deals all files, whatever their pairs: leave out --kinds, "
                            "--link, --keep, --all, --move, --links and lists");
    return 0;
}

int ms_grouping_check(ms_grouping_settings *s) {
    if (s->common.operands.n == 0 && !s->files_from)
        return ms_cli_usage("nothing to look at: give a PATH or --files-from");
    if (s->evalue < 0) return ms_cli_usage("--evalue: expected a number from 0 on");
    if (ms_cli_given(&ms_grouping_tool, s, "alike") && !(s->alike > 0 && s->alike <= 1))
        return ms_cli_usage("--alike: expected a number above 0, at most 1, got %g", s->alike);
    if (s->is_dry && !s->move && !s->links)
        return ms_cli_usage("--dry-run is for --move and --links: give one of them");
    if (s->html && (s->split || s->is_leaks || s->against.n))
        return ms_cli_usage("--html shows groups: leave out --split, --leaks and --against");
    if (s->roots.n && !s->html) return ms_cli_usage("--midi-root is for --html: give that too");
    if (check_two(s) < 0 || check_split(s) < 0 || check_format(s) < 0) return -MSIM_E_ARG;
    if (read_kinds(s) < 0 || read_link(s) < 0 || (s->split && read_shares(s) < 0))
        return -MSIM_E_ARG;
    return read_keep(s);
}
