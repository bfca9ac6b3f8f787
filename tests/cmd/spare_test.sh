#!/bin/bash
# spare_test -- what a slip of the hand must not destroy or start: a model quantised onto itself, an empty prompt.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}; n=0; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; echo "# $out"; fi; }
echo original > "$dir/m.gguf"; ln -s m.gguf "$dir/link.gguf"
for target in m.gguf link.gguf; do
    out=$("$B/tokenworks" quantize "$dir/m.gguf" "$dir/$target" Q8_0 2>&1); rc=$?
    [ $rc = 1 ] && grep -q 'same file' <<<"$out" && [ "$(cat "$dir/m.gguf")" = original ] && [ -L "$dir/link.gguf" ]
    ok $? "quantize onto $target is refused and nothing is replaced"
done
model=${TOKENWORKS_HOME:-$HOME/.cache/tokenworks}/models/SmolLM2-135M-Instruct.Q4_1.gguf
if [ -f "$model" ]; then
    out=$(echo ' ' | timeout 20 "$B/tokenworks" chat -m "$model" -n 4 2>&1); rc=$?
    [ $rc = 1 ] && grep -q 'standard input is empty' <<<"$out"; ok $? "chat says that its input is empty"
    mkfifo "$dir/pipe"
    out=$(timeout 20 "$B/tokenworks" quantize "$model" "$dir/pipe" Q8_0 2>&1); rc=$?
    [ $rc = 1 ] && [ -p "$dir/pipe" ]; ok $? "quantize leaves a pipe or device in its place"
else
    n=$((n + 1)); echo "ok $n - chat and pipes # SKIP no default model; make deps fetches it"
fi
echo "1..$n"
