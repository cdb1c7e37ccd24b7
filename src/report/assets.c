/* The files of the page, as they are: the assembler puts them here, from the top of the tree. The
 * Makefile makes this file anew when one of them changes. */
#include "report/report.h"

#define ASSET(name, file)                            \
    __asm__(".pushsection .rodata\n"                 \
            "asset_" #name ":\n"                     \
            ".incbin \"src/report/page/" file "\"\n" \
            "asset_" #name "_end:\n"                 \
            ".byte 0\n"                              \
            ".popsection\n");                        \
    extern const char asset_##name[], asset_##name##_end[];

ASSET(page, "page.html")
ASSET(style, "style.css")
ASSET(base, "base.js")
ASSET(music, "music.js")
ASSET(sound, "sound.js")
ASSET(roll, "roll.js")
ASSET(matches, "matches.js")
ASSET(groups, "groups.js")
ASSET(map, "map.js")
ASSET(shell, "shell.js")
ASSET(main, "main.js")

#define PLACE(name) \
    { asset_##name, asset_##name##_end }

const ms_report_asset ms_report_assets[] = {
    PLACE(page),    PLACE(style),  PLACE(base), PLACE(music), PLACE(sound), PLACE(roll),
    PLACE(matches), PLACE(groups), PLACE(map),  PLACE(shell), PLACE(main),  {NULL, NULL}};
