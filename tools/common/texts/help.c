/* The texts made from a tool's option table: --help, -h, --version and the man page. They cannot
 * disagree with the parser, which reads the same table. Contract: tools/common/cli.h. */
#define _GNU_SOURCE
#include "common/cli.h"
#include <stdio.h>
#include <string.h>

#ifndef MSIM_COMMIT
#define MSIM_COMMIT "unknown"
#endif

static const char *const exit_texts[][2] = {
    {"0", "the output is complete; files without notes are counted and are no failures"},
    {"1", "something could not be used: a file is damaged or cannot be read, a file named on the "
          "command line gave nothing, there is no result, or the output or the device failed; what "
          "there is of the output is written"},
    {"2", "the options are wrong or do not go together; nothing was done"},
    {"130, 143", "SIGINT or SIGTERM stopped it; what was finished is kept"}};

static const char *const variables[][2] = {
    {"MIDISIM_MODEL", "the model, without -m"},
    {"MIDISIM_THREADS", "how many threads, without --threads"},
    {"NO_COLOR", "if set, there are no colours on a terminal"},
    {"XDG_DATA_HOME", "its folder midisim may hold the model (default ~/.local/share)"}};

enum {
    N_EXITS = sizeof exit_texts / sizeof *exit_texts,
    N_VARIABLES = sizeof variables / sizeof *variables
};

static const char *exit_text(const ms_cli_tool *tool, size_t i) {
    return i == 1 && tool->exits ? tool->exits : exit_texts[i][1];
}

static bool is_used(const ms_cli_tool *tool, size_t variable) {
    if (variable == 1) return !tool->has_no_threads;
    return tool->uses_model || variable == 2;
}

/* ---- --help ---- */

/* Print text from column `at` on, wrapped, with later lines indented by `indent`. */
static void print_wrapped(const char *text, int at, int indent, int width) {
    while (*text) {
        const char *end = text + strcspn(text, " \n");
        int len = (int)(end - text);
        if (at > indent && at + 1 + len > width) {
            ms_cli_print("\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            ms_cli_print(" ");
            at++;
        }
        ms_cli_print("%.*s", len, text);
        at += len;
        text = end;
        if (*text == '\n' && text[1] == '\n') {
            ms_cli_print("\n\n%*s", indent, "");
            at = indent;
            text++;
        }
        if (*text) text++;
    }
    ms_cli_print("\n");
}

static void print_row(const char *left, const char *text) {
    enum { INDENT = 28, WIDTH = 100 };
    int n = (int)strlen(left);
    ms_cli_print("  %s", left);
    if (n + 4 > INDENT)
        ms_cli_print("\n%*s", INDENT, "");
    else
        ms_cli_print("%*s", INDENT - n - 2, "");
    print_wrapped(text, INDENT, INDENT, WIDTH);
}

static void option_label(const ms_cli_option *row, char *label, size_t cap) {
    char letter[8] = "    ";
    if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(label, cap, "%s--%s%s%s", letter, row->name, row->value ? " " : "",
             row->value ? row->value : "");
}

static void print_rows(const ms_cli_option *row) {
    char label[128];
    for (; row->name; row++) {
        option_label(row, label, sizeof label);
        print_row(label, row->help);
    }
}

static void print_usage(const ms_cli_tool *tool) {
    const char *line = tool->usage;
    for (bool first = true; *line; first = false) {
        int len = (int)strcspn(line, "\n");
        ms_cli_print("%s%s %.*s\n", first ? "Usage: " : "       ", tool->name, len, line);
        line += len + (line[len] == '\n');
    }
}

void ms_cli_print_help(const ms_cli_tool *tool) {
    print_wrapped(tool->purpose, 0, 0, 100);
    ms_cli_print("\nExamples:\n");
    for (const ms_cli_example *e = tool->examples; e->command; e++)
        ms_cli_print("  %s\n      %s\n", e->command, e->says);
    ms_cli_print("\n");
    print_usage(tool);
    ms_cli_print("\n");
    print_wrapped(tool->description, 0, 0, 100);
    ms_cli_print("\nOptions:\n");
    print_rows(tool->options);
    ms_cli_print("\nCommon options:\n");
    print_rows(ms_cli_shown_options(tool));
    ms_cli_print("\nEnvironment:\n");
    for (size_t i = 0; i < N_VARIABLES; i++)
        if (is_used(tool, i)) print_row(variables[i][0], variables[i][1]);
    ms_cli_print("\nExit codes:\n");
    for (size_t i = 0; i < N_EXITS; i++) print_row(exit_texts[i][0], exit_text(tool, i));
}

static void print_brief_rows(const ms_cli_option *row) {
    char label[128];
    for (; row->name; row++)
        if (row->brief) {
            option_label(row, label, sizeof label);
            print_row(label, row->brief);
        }
}

/* The purpose, the usage, the usual options on a line each, one example. */
void ms_cli_print_brief(const ms_cli_tool *tool) {
    ms_cli_print("%s\n", tool->purpose);
    print_usage(tool);
    print_brief_rows(tool->options);
    print_brief_rows(ms_cli_shown_options(tool));
    ms_cli_print("Example: %s\n         %s\n", tool->examples->command, tool->examples->says);
    ms_cli_print("All options: %s --help\n", tool->name);
}

void ms_cli_print_version(const ms_cli_tool *tool) {
    ms_cli_print("%s %s (commit %s)\n", tool->name, msim_version(), MSIM_COMMIT);
    ms_cli_print("kernel levels compiled in:");
    for (int i = 0, isa; (isa = msim_isa_list(i)) > 0; i++) ms_cli_print(" %s", msim_isa_name(isa));
    ms_cli_print("; best on this CPU: %s\n", msim_isa_name(msim_isa_best()));
    ms_cli_print("devices compiled in: cpu%s\n", msim_has_cuda() ? ", cuda" : "");
    for (int i = 0; i < msim_gpu_count(); i++) {
        msim_gpu_info info = {.size = sizeof info};
        if (msim_gpu_get_info(i, &info, NULL) >= 0)
            ms_cli_print("cuda:%d: %s, compute capability %d.%d, %.1f GiB\n", i, info.name,
                         info.major, info.minor, (double)info.memory_bytes / 1073741824.0);
    }
}

/* ---- Man page ---- */

/* Text as troff reads it: backslash, hyphen-minus and a leading dot or quote are special. */
static void print_troff(const char *text) {
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\'')) ms_cli_print("\\&");
        line_start = *text == '\n';
        if (*text == '\\')
            ms_cli_print("\\e");
        else if (*text == '-')
            ms_cli_print("\\-");
        else if (*text == '\n' && text[1] == '\n') {
            ms_cli_print("\n.PP\n");
            text++;
            line_start = true;
        } else
            ms_cli_write(text, 1);
    }
    ms_cli_print("\n");
}

static void print_troff_row(const char *left, const char *text) {
    ms_cli_print(".TP\n.B ");
    print_troff(left);
    print_troff(text);
}

void ms_cli_print_man(const ms_cli_tool *tool) {
    char label[128];
    const ms_cli_option *tables[] = {tool->options, ms_cli_shown_options(tool)};
    ms_cli_print(".TH \"%s\" 1 \"\" \"midisim %s\" \"User Commands\"\n.SH NAME\n%s \\- ",
                 tool->name, msim_version(), tool->name);
    print_troff(tool->summary);
    ms_cli_print(".SH SYNOPSIS\n");
    for (const char *line = tool->usage; *line;) {
        char one[512];
        size_t len = strcspn(line, "\n");
        snprintf(one, sizeof one, "%.*s", (int)len, line);
        ms_cli_print("%s.B %s\n", line == tool->usage ? "" : ".br\n", tool->name);
        print_troff(one);
        line += len + (line[len] == '\n');
    }
    ms_cli_print(".SH DESCRIPTION\n");
    print_troff(tool->purpose);
    ms_cli_print(".PP\n");
    print_troff(tool->description);
    ms_cli_print(".SH EXAMPLES\n");
    for (const ms_cli_example *e = tool->examples; e->command; e++)
        print_troff_row(e->command, e->says);
    ms_cli_print(".SH OPTIONS\n");
    for (size_t t = 0; t < 2; t++)
        for (const ms_cli_option *row = tables[t]; row->name; row++) {
            option_label(row, label, sizeof label);
            print_troff_row(row->letter ? label : label + 4, row->help);
        }
    ms_cli_print(".SH ENVIRONMENT\n");
    for (size_t i = 0; i < N_VARIABLES; i++)
        if (is_used(tool, i)) print_troff_row(variables[i][0], variables[i][1]);
    ms_cli_print(".SH EXIT STATUS\n");
    for (size_t i = 0; i < N_EXITS; i++) print_troff_row(exit_texts[i][0], exit_text(tool, i));
    ms_cli_print(".SH SEE ALSO\n.BR midisim (1),\n.BR midisim (7)\n");
}

/* ---- For the build, the tests and the front command ---- */

static void print_levels(const ms_cli_tool *tool) {
    (void)tool;
    for (int i = 0, isa; (isa = msim_isa_list(i)) > 0; i++)
        for (int precision = 0; msim_precision_name(precision); precision++)
            if (msim_isa_needs(isa, precision))
                ms_cli_print("%s\t%s\t%s\t%s\n", msim_isa_name(isa), msim_precision_name(precision),
                             msim_isa_is_available(isa, precision) ? "yes" : "no",
                             msim_isa_needs(isa, precision));
}

static void print_summary(const ms_cli_tool *tool) { ms_cli_print("%s\n", tool->summary); }

bool ms_cli_generate(const ms_cli_tool *tool, const char *word) {
    static const struct {
        const char *option;
        void (*print)(const ms_cli_tool *tool);
    } texts[] = {{"--generate-man", ms_cli_print_man},  {"--generate-completion", ms_complete_bash},
                 {"--generate-zsh", ms_complete_zsh},   {"--generate-fish", ms_complete_fish},
                 {"--generate-summary", print_summary}, {"--generate-levels", print_levels}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(word, texts[i].option) == 0) {
            texts[i].print(tool);
            return true;
        }
    return false;
}
