/* midisim: one command in front of the tools. `midisim NAME ...` becomes `midisim-NAME ...` of the
 * same folder, so a tool that is added later is found by itself. A file instead of a NAME is a
 * query: `midisim song.mid ...` becomes `midisim-search --find-if-there song.mid ...`. The front
 * command stays a program of the C library alone: it starts at once, wherever it was installed. */
#define _GNU_SOURCE
#include "base/system/program.h"
#include "common/texts/spelling.h"
#include "midisim.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_WRONG = 2, MAX_COMMANDS = 64 };
static const char prefix[] = "midisim-";

static const char usage[] = "Usage: midisim COMMAND [ARGUMENT]...\n"
                            "       midisim QUERY.mid -c CORPUS [OPTION]...\n"
                            "       midisim help [COMMAND]\n"
                            "       midisim --version\n\n"
                            "Find similar music among MIDI files. A first run:\n\n"
                            "  midisim fetch small                    # the model, once\n"
                            "  midisim embed -o corpus.npy music      # a folder to a corpus\n"
                            "  midisim song.mid -c corpus.npy         # its best matches\n\n"
                            "Commands:\n";

/* "X" of a file name "midisim-X", or NULL when the name is none of a tool's. */
static const char *command_of(const char *name) {
    const char *command = name + sizeof prefix - 1;
    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || !*command) return NULL;
    size_t n = strspn(command, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return command[n] || strlen(command) > 40 ? NULL : command;
}

static bool tool_path(const char *folder, const char *command, char *path, size_t cap) {
    return (size_t)snprintf(path, cap, "%s/%s%s", folder, prefix, command) < cap &&
           access(path, X_OK) == 0;
}

/* ---- Help ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The commands of a folder, sorted: at most MAX_COMMANDS strings to free. */
static size_t list_commands(const char *folder, char **commands) {
    char path[PATH_MAX];
    size_t n = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && n < MAX_COMMANDS && (entry = readdir(dir))) {
        const char *command = command_of(entry->d_name);
        if (command && tool_path(folder, command, path, sizeof path))
            n += (commands[n] = strdup(command)) != NULL;
    }
    if (dir) closedir(dir);
    qsort(commands, n, sizeof *commands, by_name);
    return n;
}

/* In a child: the tool, which says to `out` what it does. */
static void say_summary(const char *path, int out) {
    int none = open("/dev/null", O_RDWR);
    if (none >= 0 && dup2(none, 0) >= 0 && dup2(out, 1) >= 0 && dup2(none, 2) >= 0)
        execl(path, path, "--generate-summary", (char *)NULL);
    _exit(127);
}

/* The line in which a tool says what it does; "" when it says nothing. */
static void ask_summary(const char *path, char *line, size_t cap) {
    int ends[2], status;
    line[0] = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    pid_t child = fork();
    if (child == 0) say_summary(path, ends[1]);
    close(ends[1]);
    FILE *from = child > 0 ? fdopen(ends[0], "r") : NULL;
    if (!from || !fgets(line, (int)cap, from)) line[0] = 0;
    line[strcspn(line, "\n")] = 0;
    if (from)
        fclose(from);
    else
        close(ends[0]);
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0)) line[0] = 0;
}

static int show_help(const char *folder) {
    char *commands[MAX_COMMANDS], path[PATH_MAX], summary[200];
    size_t n = list_commands(folder, commands);
    fputs(usage, stdout);
    for (size_t i = 0; i < n; i++) {
        summary[0] = 0;
        if (tool_path(folder, commands[i], path, sizeof path))
            ask_summary(path, summary, sizeof summary);
        printf("  %-10s  %s\n", commands[i], summary);
        free(commands[i]);
    }
    puts("\n'midisim help COMMAND' shows a command's options.");
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    fprintf(stderr, "midisim: cannot write: standard output: %s\n", strerror(errno));
    return 1;
}

static int list_only(const char *folder) {
    char *commands[MAX_COMMANDS];
    size_t n = list_commands(folder, commands);
    for (size_t i = 0; i < n; i++) {
        puts(commands[i]);
        free(commands[i]);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

/* ---- Running ---- */

/* The nearest command to a word that is none, as " (did you mean 'search'?)", or "". */
static void suggest(const char *folder, const char *word, char *text, size_t cap) {
    char *commands[MAX_COMMANDS];
    const size_t n = list_commands(folder, commands);
    size_t least = ms_spelling_limit(word) + 1;
    *text = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t distance = ms_spelling_distance(word, commands[i]);
        if (distance < least) snprintf(text, cap, " (did you mean '%s'?)", commands[i]);
        if (distance < least) least = distance;
        free(commands[i]);
    }
}

/* Become the tool. Comes back only when that fails, with an exit code. */
static int become(const char *folder, const char *command, char **argv) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "%s%.48s", prefix, command);
    if (!command_of(name) || !tool_path(folder, command, path, sizeof path)) {
        char shown[48], nearest[80];
        if (strcmp(command, "serve") == 0) {
            fputs("midisim: serve: this build has no server: install libmicrohttpd-dev, then build "
                  "again\n",
                  stderr);
            return 1;
        }
        snprintf(shown, sizeof shown, "%s", command);
        for (char *c = shown; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
        suggest(folder, shown, nearest, sizeof nearest);
        fprintf(stderr, "midisim: unknown command: %s%s: 'midisim help' lists them\n", shown,
                nearest);
        return EXIT_WRONG;
    }
    argv[0] = path;
    execv(path, argv);
    fprintf(stderr, "midisim: cannot run: %s: %s\n", path, strerror(errno));
    return 1;
}

/* A query or an option of a search: no command has such a name. */
static bool is_query(const char *folder, const char *word) {
    char path[PATH_MAX];
    if (tool_path(folder, word, path, sizeof path)) return false;
    return *word == '-' || strpbrk(word, "./") || access(word, F_OK) == 0;
}

/* Become the search that also compares notes, where it can. argv[0] is replaced by two words. */
static int become_search(const char *folder, int argc, char **argv) {
    char option[] = "--find-if-there";
    char **words = calloc((size_t)argc + 2, sizeof *words);
    if (!words) {
        fprintf(stderr, "midisim: out of memory\n");
        return 1;
    }
    words[1] = option;
    memcpy(words + 2, argv + 1, (size_t)argc * sizeof *words); /* the NULL too */
    int rc = become(folder, "search", words);
    free(words);
    return rc;
}

int main(int argc, char **argv) {
    char folder[PATH_MAX];
    const char *word = argc > 1 ? argv[1] : "";
    if (!ms_program_folder(folder, sizeof folder)) {
        fprintf(stderr, "midisim: cannot tell where this program lies: start it by its path\n");
        return 1;
    }
    if (strcmp(word, "--version") == 0) {
        printf("midisim %s\n", MSIM_VERSION);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    if (strcmp(word, "--generate-commands") == 0) return list_only(folder); /* for completions */
    bool asks = strcmp(word, "help") == 0;
    if ((asks && argc == 2) || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return show_help(folder);
    if (asks) {
        char help[] = "--help", *words[] = {argv[0], help, NULL};
        return become(folder, argv[2], words);
    }
    if (argc < 2) {
        fprintf(stderr, "midisim: no command: 'midisim help' lists them\n");
        return EXIT_WRONG;
    }
    if (is_query(folder, word)) return become_search(folder, argc, argv);
    return become(folder, word, argv + 1);
}
