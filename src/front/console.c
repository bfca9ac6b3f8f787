/* console -- the console's files, as `make` bundled them from web/, inside the program: no file is read at run time.
 *
 * The policy lets the page load its own script and style and talk to this server; nothing else, and no inline code,
 * so that text a model wrote cannot become a program even if the page had a fault. */
#include "front/front_impl.h"

#include "base/mem.h"

#include <string.h>

#define EMBED(name, file) \
    __asm__(".section .rodata,\"a\",@progbits\n.balign 16\n" \
            ".global console_" #name "\nconsole_" #name ":\n.incbin \"" CONSOLE_DIR "/" file "\"\n" \
            ".global console_" #name "_end\nconsole_" #name "_end:\n.byte 0\n.previous\n"); \
    extern const char console_##name[], console_##name##_end[]

EMBED(html, "index.html");
EMBED(js, "console.js");
EMBED(css, "console.css");
EMBED(icon, "icon.svg");

static const struct {
    const char *path, *type, *data, *end;
} files[] = {
    { "/", "text/html; charset=utf-8", console_html, console_html_end },
    { "/console.js", "text/javascript; charset=utf-8", console_js, console_js_end },
    { "/console.css", "text/css; charset=utf-8", console_css, console_css_end },
    { "/icon.svg", "image/svg+xml", console_icon, console_icon_end },
};

static const char headers[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'\r\n"
    "Referrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\nCache-Control: no-cache\r\n";

void answer_console(struct front *f, struct http_exchange *x, const struct route *r)
{
    for (size_t i = 0; i < MEM_COUNT(files); i++)
        if (!strcmp(files[i].path, r->path)) {
            struct http_reply reply = { .status = 200, .content_type = files[i].type, .headers = headers };
            front_reply_bytes(f, x, &reply, files[i].data, (size_t)(files[i].end - files[i].data));
            return;
        }
    answer_unknown(f, x, r);
}
