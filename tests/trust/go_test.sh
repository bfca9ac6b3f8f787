#!/bin/bash
# go_test -- another implementation checks ours: Debian's golang-golang-x-mod-dev verifies our notes, trees and proofs.
set -u
B=${B:-build}
skip() { echo "ok 1 - go # SKIP $1"; echo "1..1"; exit 0; }
command -v go >/dev/null || skip "go is not installed (Debian: golang-go)"
[ -d /usr/share/gocode/src/golang.org/x/mod/sumdb ] || skip "Debian's golang-golang-x-mod-dev is not installed"
[ -x "$B/tokenworks" ] || skip "$B/tokenworks is not built"
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
export TOKENWORKS_HOME=$T/home GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=${GOCACHE:-/tmp/tw-gocache} GOFLAGS=
tw() { "$B/tokenworks" "$@"; }
cat > "$T/policy.yaml" <<'Y'
version: 1
classes: [internal]
sites: {berlin: {jurisdiction: DE, operator-law: [DE]}}
tenants: {t: {home: DE, process-in: [DE], default-class: internal}}
models: {m: {max-class: internal, territory: [DE]}}
rules: [{id: all, effect: allow, when: {}}]
Y
run() {
    tw trust init --site go.example && tw trust policy "$T/policy.yaml" && tw trust model --name m "$T/policy.yaml" &&
    tw trust receipts --place berlin --tenant t --model m -n 700
} >/dev/null
if ! run; then echo "not ok 1 - a site of 700 receipts"; echo 1..1; exit 1; fi
echo "ok 1 - a site of 700 receipts"
pub=$T/home/trust/public; key=$(awk '/^log /{print $2}' "$pub/trust.policy")
mkdir -p "$T/x/notes" "$T/x/proofs"; cp -r "$pub/log" "$T/x/log"
# every statement under the key its root note names, the root under root-a
for f in "$pub"/notes/*/*.note; do
    kind=$(basename "$(dirname "$f")"); case $kind in close) kind=node;; esac
    { awk -v k="$kind" '$1==k{print $2}' "$pub/root.note"; cat "$f"; } > "$T/x/notes/$(basename "$f")"
done
{ awk '$1=="roots"{split($2,r,","); print r[1]}' "$pub/root.note"; cat "$pub/root.note"; } > "$T/x/notes/root"
for i in 0 1 4 255 256 700; do
    tw trust log prove $i > "$T/x/proofs/$i.proof"
    python3 - "$pub/log" $i > "$T/x/proofs/$i.leaf" <<'P'
import os, sys
log, i = sys.argv[1], int(sys.argv[2])
path = f"{log}/tile/entries/{i // 256:03d}"
if not os.path.exists(path):
    path = max((os.path.join(path + ".p", n) for n in os.listdir(path + ".p")), key=lambda p: int(p.rsplit("/", 1)[1]))
data = open(path, "rb").read()
for _ in range(i % 256):
    data = data[2 + (data[0] << 8 | data[1]):]
sys.stdout.buffer.write(data[2:2 + (data[0] << 8 | data[1])])
P
done
out=$(go run tests/trust/go/check.go "$T/x" "$key" 2>&1) && echo "$out" | grep -q 'notes 5 proofs 6' &&
    echo "ok 2 - Go's note and tlog packages verify notes, tree and proofs" ||
    { echo "not ok 2 - Go's note and tlog packages verify notes, tree and proofs"; echo "$out" | sed 's/^/# /'; }
# and it refuses what we refuse
printf x >> "$T/x/log/tile/0/000"; f=$(ls "$T"/x/proofs/*.leaf | head -1); printf x >> "$f"
go run tests/trust/go/check.go "$T/x" "$key" >/dev/null 2>&1 &&
    echo "not ok 3 - a changed leaf is refused by Go too" || echo "ok 3 - a changed leaf is refused by Go too"
echo 1..3
