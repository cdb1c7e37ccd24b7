/* Contract: tools/serve/assets.h. The assembler puts the files here as they are, from the top of
 * the tree; the Makefile makes this file anew when one of them changes. */
#include "assets.h"
#include <stddef.h>
#include <string.h>

#define ASSET(name, file)            \
    __asm__(".pushsection .rodata\n" \
            "serve_" #name ":\n"     \
            ".incbin \"" file "\"\n" \
            "serve_" #name "_end:\n" \
            ".byte 0\n"              \
            ".popsection\n");        \
    extern const char serve_##name[], serve_##name##_end[];

ASSET(page, "tools/serve/page/index.html")
ASSET(own_style, "tools/serve/page/serve.css")
ASSET(input, "tools/serve/page/input.js")
ASSET(own, "tools/serve/page/serve.js")
ASSET(api, "tools/serve/page/openapi.json")
ASSET(style, "src/report/page/style.css")
ASSET(base, "src/report/page/base.js")
ASSET(music, "src/report/page/music.js")
ASSET(sound, "src/report/page/sound.js")
ASSET(roll, "src/report/page/roll.js")
ASSET(matches, "src/report/page/matches.js")
ASSET(shell, "src/report/page/shell.js")

#define PLACE(name) serve_##name, serve_##name##_end
#define SCRIPT "text/javascript; charset=utf-8"
#define STYLE "text/css; charset=utf-8"

static const ms_serve_asset assets[] = {{"/", "text/html; charset=utf-8", PLACE(page)},
                                        {"/api/openapi.json", "application/json", PLACE(api)},
                                        {"/page/serve.css", STYLE, PLACE(own_style)},
                                        {"/page/style.css", STYLE, PLACE(style)},
                                        {"/page/base.js", SCRIPT, PLACE(base)},
                                        {"/page/music.js", SCRIPT, PLACE(music)},
                                        {"/page/sound.js", SCRIPT, PLACE(sound)},
                                        {"/page/roll.js", SCRIPT, PLACE(roll)},
                                        {"/page/matches.js", SCRIPT, PLACE(matches)},
                                        {"/page/shell.js", SCRIPT, PLACE(shell)},
                                        {"/page/input.js", SCRIPT, PLACE(input)},
                                        {"/page/serve.js", SCRIPT, PLACE(own)}};

const ms_serve_asset *ms_serve_asset_find(const char *path) {
    for (size_t i = 0; i < sizeof assets / sizeof *assets; i++)
        if (strcmp(assets[i].path, path) == 0) return &assets[i];
    return NULL;
}
