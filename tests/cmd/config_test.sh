#!/bin/bash
# config_test -- serve --config: what it sets, and that a mistake is refused with its line.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}; n=0; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
refused() { # text, expected line and words
    n=$((n + 1)); printf '%b' "$1" > "$dir/c.yaml"
    out=$(timeout 20 "$B/tokenworks" serve --config "$dir/c.yaml" 2>&1); rc=$?
    if [ $rc = 2 ] && grep -q "c.yaml:$2" <<<"$out" && grep -q "$3" <<<"$out"; then echo "ok $n - $3"
    else echo "not ok $n - $3"; echo "# exit $rc: $out"; fi
}
refused 'listen: 127.0.0.1:0\nlisten_on: x\n' 2 listen_on
refused 'limits:\n  threads: 2\n  drains: 3\n' 3 drains
refused 'speed:\n  speculate: 3\n' 2 speculate
refused 'limits:\n  threads: many\n' 2 threads
refused 'memory:\n  kv: lots\n' 2 "512M or 2G"
refused 'models: one\n' 1 "list of"
refused 'models: [a,\n  3]\n' 2 "list of names"
refused 'tls: yes\n' 1 mapping
refused 'telemetry: {log-json: 1}\n' 1 "true or false"
refused 'listen: a\nlisten: b\n' 2 listen
n=$((n + 1)); printf 'models: [/nonexistent/a.gguf]\nlimits: {drain-s: 1}\n' > "$dir/c.yaml"
out=$(timeout 20 "$B/tokenworks" serve --config "$dir/c.yaml" 2>&1)
if grep -q "/nonexistent/a.gguf" <<<"$out"; then echo "ok $n - the file's models are used"; else echo "not ok $n - models"; echo "# $out"; fi
n=$((n + 1)); out=$(timeout 20 "$B/tokenworks" serve --config "$dir/c.yaml" --model /nonexistent/b.gguf 2>&1)
if grep -q "/nonexistent/b.gguf" <<<"$out"; then echo "ok $n - an option goes before the file"; else echo "not ok $n - option"; echo "# $out"; fi
echo "1..$n"
