/* Completions for bash, zsh and fish. Contract: tools/common/cli.h. The functions that the
 * files share stand in each, since a shell loads the file of one command when it needs it. */
#define _GNU_SOURCE
#include "common/cli.h"
#include <stdio.h>
#include <string.h>

/* What a value may be. */
enum what { NO_VALUE, ANYTHING, WORDS, FILES, FOLDERS, CORPORA, MODELS, ROWS };

static bool has(const char *text, const char *word) { return strstr(text, word) != NULL; }

static enum what what_of(const ms_cli_option *row) {
    if (row->kind == MS_CLI_FLAG) return NO_VALUE;
    if (row->kind == MS_CLI_DEVICE || row->choices) return WORDS;
    if (row->kind != MS_CLI_TEXT && row->kind != MS_CLI_TEXTS) return ANYTHING;
    if (strcmp(row->name, "model") == 0) return MODELS;
    if (strcmp(row->name, "like") == 0 || strcmp(row->name, "exclude") == 0) return ROWS;
    if (strcmp(row->value, "CORPUS") == 0) return CORPORA;
    if (strcmp(row->value, "DIR") == 0 || strcmp(row->value, "ROOT") == 0) return FOLDERS;
    return has(row->value, "FILE") || has(row->value, "OUT") || has(row->value, "PATH") ? FILES
                                                                                        : ANYTHING;
}

static void print_words(const ms_cli_option *row) {
    const char *words = row->kind == MS_CLI_DEVICE ? "auto|cpu|cuda|cuda:all" : row->choices;
    for (; *words; words++) ms_cli_print("%c", *words == '|' ? ' ' : *words);
}

/* The beginning of an option's help, for shells that show it: to its first pause, at most 60 bytes,
 * with the bytes of `special` escaped. */
static void print_help(const char *help, const char *special) {
    size_t n = strcspn(help, ";(:"), end = n;
    const char *stop = memmem(help, n, ". ", 2);
    if (stop) n = end = (size_t)(stop - help);
    if (n > 60)
        for (n = end = 60; n > 0 && help[n] != ' '; n--) end = n - 1;
    while (end > 0 && strchr(" ,", help[end - 1])) end--;
    for (size_t i = 0; i < end; i++)
        ms_cli_print("%s%c", strchr(special, help[i]) ? "\\" : "", help[i]);
}

/* Calls `print` with each option that the tool's help shows. */
static void for_options(const ms_cli_tool *tool, void (*print)(const ms_cli_option *row)) {
    const ms_cli_option *tables[] = {tool->options, ms_cli_shown_options(tool)};
    for (size_t t = 0; t < 2; t++)
        for (const ms_cli_option *row = tables[t]; row->name; row++) print(row);
}

static bool is_fetch(const ms_cli_tool *tool) { return strcmp(tool->name, "midisim-fetch") == 0; }

/* ---- bash ---- */

/* Where COMPREPLY stays empty, readline completes files itself ("complete -o default"). */
static const char bash_functions[] =
    "_midisim_plain() { # WORD: as typed, without its quotes\n"
    "    local word=$1\n"
    "    word=${word#[\\'\\\"]}\n"
    "    word=${word//\\\\/}\n"
    "    [[ $word == '~/'* ]] && word=$HOME/${word:2}\n"
    "    printf '%s' \"$word\"\n"
    "}\n"
    "_midisim_files() { # WORD ENDING...: what fetch has put away, folders, files of these "
    "endings\n"
    "    local word file ending; word=$(_midisim_plain \"$1\"); shift\n"
    "    compopt -o filenames\n"
    "    local data=${XDG_DATA_HOME:-$HOME/.local/share}/midisim\n"
    "    while IFS= read -r file; do\n"
    "        [[ -d $file ]] && COMPREPLY+=(\"$file\")\n"
    "        for ending; do [[ $file == *.$ending ]] && COMPREPLY+=(\"$file\"); done\n"
    "    done < <(compgen -f -- \"$word\"; [[ -z $word ]] && printf '%s\\n' \"$data\"/*.*)\n"
    "}\n"
    "_midisim_rows() { # WORD: rows of the corpora that the command line names\n"
    "    local i word corpora=(); word=$(_midisim_plain \"$1\")\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        [[ ${COMP_WORDS[i]} == @(-c|--corpus) ]] || continue\n"
    "        [[ ${COMP_WORDS[i+1]} == = ]] && ((i++))\n"
    "        corpora+=(\"$(_midisim_plain \"${COMP_WORDS[i+1]%[\\'\\\"]}\")\")\n"
    "    done\n"
    "    compopt +o default -o filenames\n"
    "    mapfile -t COMPREPLY < <(midisim-search --generate-rows \"$word\" \"${corpora[@]}\" "
    "2>/dev/null)\n"
    "}\n";

static void bash_case(const ms_cli_option *row) {
    enum what what = what_of(row);
    if (what == NO_VALUE) return;
    ms_cli_print("    --%s", row->name);
    if (row->letter) ms_cli_print("|-%c", row->letter);
    ms_cli_print(") ");
    switch (what) {
    case WORDS:
        ms_cli_print("mapfile -t COMPREPLY < <(compgen -W '");
        print_words(row);
        ms_cli_print("' -- \"$word\"); ");
        break;
    case CORPORA: ms_cli_print("_midisim_files \"$word\" npy fvecs fbin; "); break;
    case MODELS: ms_cli_print("_midisim_files \"$word\" safetensors pth; "); break;
    case ROWS: ms_cli_print("_midisim_rows \"$word\"; "); break;
    case FOLDERS: ms_cli_print("compopt +o default -o dirnames; "); break;
    case FILES: break;
    default: ms_cli_print("compopt +o default; ");
    }
    ms_cli_print("return ;;\n");
}

static void bash_option(const ms_cli_option *row) { ms_cli_print("--%s ", row->name); }

void ms_complete_bash(const ms_cli_tool *tool) {
    char function[64];
    snprintf(function, sizeof function, "_%s", tool->name);
    for (char *c = function; *c; c++)
        if (*c == '-') *c = '_';
    ms_cli_print("# bash completion for %s\n%s", tool->name, bash_functions);
    ms_cli_print("%s() {\n    local word=${COMP_WORDS[COMP_CWORD]} "
                 "before=${COMP_WORDS[COMP_CWORD-1]}\n    COMPREPLY=()\n"
                 "    if [[ $word == = ]]; then word=\n" /* --name=value comes as three words */
                 "    elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
                 "    case $before in\n",
                 function);
    for_options(tool, bash_case);
    ms_cli_print("    esac\n    if [[ $word == -* ]]; then\n"
                 "        mapfile -t COMPREPLY < <(compgen -W '");
    for_options(tool, bash_option);
    ms_cli_print("' -- \"$word\")\n");
    if (is_fetch(tool))
        ms_cli_print("    else\n        mapfile -t COMPREPLY < <(compgen -W 'small large corpus' "
                     "-- \"$word\")\n");
    ms_cli_print("    fi\n}\ncomplete -o default -F %s %s\n", function, tool->name);
}

/* ---- zsh ---- */

static const char zsh_functions[] =
    "_midisim_rows() { # rows of the corpora that the command line names\n"
    "    local -a corpora rows\n"
    "    local i\n"
    "    for (( i = 2; i < CURRENT; i++ )); do\n"
    "        case $words[i] in\n"
    "        -c|--corpus) corpora+=(\"${(Q)words[i+1]}\") ;;\n"
    "        --corpus=*) corpora+=(\"${(Q)${words[i]#--corpus=}}\") ;;\n"
    "        -c?*) corpora+=(\"${(Q)${words[i]#-c}}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    rows=(\"${(@f)$(midisim-search --generate-rows \"${(Q)PREFIX}\" \"$corpora[@]\" "
    "2>/dev/null)}\")\n"
    "    compadd -a rows\n"
    "}\n"
    "_midisim_files() { # PATTERN: what fetch has put away, and files\n"
    "    local -a kept\n"
    "    kept=(${XDG_DATA_HOME:-$HOME/.local/share}/midisim/${~1}(N))\n"
    "    [[ -n $PREFIX ]] || compadd -f -a kept\n"
    "    _files -g \"$1\"\n"
    "}\n";

static void zsh_option(const ms_cli_option *row) {
    enum what what = what_of(row);
    const char *ends = what == NO_VALUE ? "" : "=";
    ms_cli_print("    ");
    if (row->kind == MS_CLI_TEXTS)
        ms_cli_print("'*'");
    else if (row->letter)
        ms_cli_print("'(-%c --%s)'", row->letter, row->name);
    if (row->letter)
        ms_cli_print("{-%c%s,--%s%s}", row->letter, what == NO_VALUE ? "" : "+", row->name, ends);
    else
        ms_cli_print("--%s%s", row->name, ends);
    ms_cli_print("$'[");
    print_help(row->brief ? row->brief : row->help, "'\\[]");
    ms_cli_print("]");
    if (what != NO_VALUE) ms_cli_print(":%s:", row->name);
    switch (what) {
    case NO_VALUE: break;
    case WORDS:
        ms_cli_print("(");
        for (const char *c = row->kind == MS_CLI_DEVICE ? "auto|cpu|cuda|cuda\\\\:all"
                                                        : row->choices;
             *c; c++)
            ms_cli_print("%c", *c == '|' ? ' ' : *c);
        ms_cli_print(")");
        break;
    case CORPORA: ms_cli_print("_midisim_files \"*.(npy|fvecs|fbin)\""); break;
    case MODELS: ms_cli_print("_midisim_files \"*.(safetensors|pth)\""); break;
    case ROWS: ms_cli_print("_midisim_rows"); break;
    case FOLDERS: ms_cli_print("_files -/"); break;
    case FILES: ms_cli_print("_files"); break;
    default: ms_cli_print(" ");
    }
    ms_cli_print("' \\\n");
}

void ms_complete_zsh(const ms_cli_tool *tool) {
    ms_cli_print("#compdef %s\n%s_arguments -s -S \\\n", tool->name, zsh_functions);
    for_options(tool, zsh_option);
    if (is_fetch(tool)) ms_cli_print("    '1:what:(small large corpus)' \\\n");
    ms_cli_print("    '*:file:_files'\n");
}

/* ---- fish ---- */

static const char fish_functions[] =
    "function __midisim_rows # rows of the corpora that the command line names\n"
    "    set -l corpora\n"
    "    set -l before\n"
    "    for word in (commandline -opc)\n"
    "        if contains -- \"$before\" -c --corpus\n"
    "            set -a corpora $word\n"
    "        else if string match -q -- '--corpus=*' $word\n"
    "            set -a corpora (string replace -- --corpus= '' $word)\n"
    "        end\n"
    "        set before $word\n"
    "    end\n"
    "    set -l word (commandline -ct | string replace -r -- '^--[a-z]+=' '' | string unescape)\n"
    "    midisim-search --generate-rows \"$word\" $corpora 2>/dev/null\n"
    "end\n"
    "function __midisim_files # ENDING...: what fetch has put away, folders, files of these "
    "endings\n"
    "    set -l data ~/.local/share\n"
    "    set -q XDG_DATA_HOME; and set data $XDG_DATA_HOME\n"
    "    set -l kept $data/midisim/*\n"
    "    for ending in $argv\n"
    "        string match -- \"*.$ending\" $kept\n"
    "    end\n"
    "    __fish_complete_path (commandline -ct)\n"
    "end\n";

/* fish needs the tool's name on each line; one tool is printed at a time. */
static void fish_option(const ms_cli_tool *tool, const ms_cli_option *row) {
    ms_cli_print("complete -c %s", tool->name);
    if (row->letter) ms_cli_print(" -s %c", row->letter);
    ms_cli_print(" -l %s", row->name);
    switch (what_of(row)) {
    case NO_VALUE: break;
    case WORDS:
        ms_cli_print(" -x -a '");
        print_words(row);
        ms_cli_print("'");
        break;
    case CORPORA: ms_cli_print(" -x -a '(__midisim_files npy fvecs fbin)'"); break;
    case MODELS: ms_cli_print(" -x -a '(__midisim_files safetensors pth)'"); break;
    case ROWS: ms_cli_print(" -x -a '(__midisim_rows)'"); break;
    case FOLDERS: ms_cli_print(" -x -a '(__fish_complete_directories (commandline -ct))'"); break;
    case FILES: ms_cli_print(" -r -F"); break;
    default: ms_cli_print(" -x");
    }
    ms_cli_print(" -d '");
    print_help(row->brief ? row->brief : row->help, "'\\");
    ms_cli_print("'\n");
}

void ms_complete_fish(const ms_cli_tool *tool) {
    const ms_cli_option *tables[] = {tool->options, ms_cli_shown_options(tool)};
    ms_cli_print("# fish completion for %s\n%s", tool->name, fish_functions);
    for (size_t t = 0; t < 2; t++)
        for (const ms_cli_option *row = tables[t]; row->name; row++) fish_option(tool, row);
    if (is_fetch(tool))
        ms_cli_print("complete -c %s -n __fish_is_first_arg -a 'small large corpus'\n", tool->name);
}
