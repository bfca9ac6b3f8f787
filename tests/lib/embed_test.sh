#!/bin/bash
# embed_test -- examples/embed builds against libtokenworks as its first line says, and answers.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}
model="${TOKENWORKS_HOME:-$HOME/.cache/tokenworks}/models/SmolLM2-135M-Instruct.Q4_1.gguf"
say() { if [ "$1" = 0 ]; then echo "ok $2 - $3"; else echo "not ok $2 - $3"; fi; }
lines=$(grep -cv '^ *//\|^$' examples/embed/embed.c)
[ "$(wc -l < include/tokenworks.h)" -lt 300 ] && [ "$lines" -le 45 ]
say $? 1 "one header under 300 lines, an example of about 40"
cc -Wall -Wextra -Werror -Wno-unused-parameter -std=c11 -o "$B/embed" examples/embed/embed.c \
    $(PKG_CONFIG_PATH=$B pkg-config --cflags --static --libs tokenworks) 2>"$B/embed.log"
say $? 2 "it builds with what pkg-config names"; [ -s "$B/embed.log" ] && sed 's/^/# /' "$B/embed.log"
if [ ! -f "$model" ]; then echo "ok 3 - it answers # SKIP the default model is not here"; echo "1..3"; exit 0; fi
out=$("$B/embed" "$model" "Who wrote the play Romeo and Juliet?" 2>&1); rc=$?
[ $rc = 0 ] && grep -q Shakespeare <<<"$out" && grep -q "tokens, the first after" <<<"$out"
say $? 3 "it answers"; echo "# $out"
"$B/embed" /nonexistent.gguf x 2>&1 | grep -q "cannot open"
say $? 4 "a missing model is a sentence"
echo "1..4"
