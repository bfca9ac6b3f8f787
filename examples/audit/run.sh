#!/bin/bash
# run -- a site, two witnesses, a hundred receipts, tampering, and the audit that finds it. Leaves nothing behind.
set -eu
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
tw=${TOKENWORKS:-$root/build/tokenworks}
[ -x "$tw" ] || { echo "build it first: make" >&2; exit 1; }
T=$(mktemp -d); witness_pid=
cleanup() { [ -z "$witness_pid" ] || kill "$witness_pid" 2>/dev/null || true; ip link del tw-audit 2>/dev/null || true
            ip netns del tw-witness 2>/dev/null || true; rm -rf "$T"; }
trap cleanup EXIT
say() { printf '\n== %s\n' "$*"; }
site() { TOKENWORKS_HOME=$T/site "$tw" "$@"; }

say "two witnesses make their keys"
w1=$(TOKENWORKS_HOME=$T/w1 "$tw" witness init --name university.example/witness)
w2=$(TOKENWORKS_HOME=$T/w2 "$tw" witness init --name vault.example/witness)
address=127.0.0.1; inside=
if [ "$(id -u)" = 0 ] && ip netns add tw-witness 2>/dev/null; then # another network: a wire with two ends
    ip link add tw-audit type veth peer name tw-inside netns tw-witness
    ip addr add 198.18.7.1/30 dev tw-audit; ip link set tw-audit up
    ip -n tw-witness addr add 198.18.7.2/30 dev tw-inside; ip -n tw-witness link set tw-inside up
    address=198.18.7.2; inside="ip netns exec tw-witness"
fi
echo "$w1 (a server at $address)"; echo "$w2 (files only)"

say "a site in one command"
site trust init --site berlin.example --witness "$w1 http://$address:19331" --witness "$w2"
cp "$T/site/trust/public/trust.policy" "$T/mine.policy" # an auditor gets this from log and witnesses, not from the site
log=$(awk '/^log /{print $2}' "$T/mine.policy")
TOKENWORKS_HOME=$T/w1 $inside "$tw" witness --log "$log" --listen "$address:19331" serve & witness_pid=$!
TOKENWORKS_HOME=$T/w2 "$tw" witness --log "$log" key >/dev/null

say "what it runs, and under which rules"
mkdir "$T/models"; printf 'weights' > "$T/models/small.gguf"
site trust release --version 0.1.0 "$tw"
site trust model --name small "$T/models/small.gguf"
site trust policy "$here/policy.yaml"

say "a hundred receipts: 60 in Berlin, 40 asked for in Virginia and denied"
boot=$(site trust receipts --place berlin --tenant clinic --model small -n 60)
site trust receipts --place virginia --tenant clinic --model small -n 40 --previous "$boot"

say "witnesses cosign: one over HTTP, one by a file carried over"
for i in 1 2 3 4 5 6 7 8 9 10; do curl -s -o /dev/null "http://$address:19331/" && break; sleep 0.2; done
site trust log request > "$T/request"
TOKENWORKS_HOME=$T/w2 "$tw" witness sign "$T/request" > "$T/from-w2"
curl -sf --data-binary "@$T/request" "http://$address:19331/add-checkpoint" > "$T/from-w1"
site trust log cosign "$T/from-w1" "$T/from-w2"

audit() { "$tw" audit --pseudonyms "$T/site/trust/keys" --models "$T/models" "$1" "$T/mine.policy" && rc=0 || rc=$?; }
say "an honest audit"
audit "$T/site/trust/public"; [ $rc = 0 ]

tamper() { # name, what to do to the copy in $c
    say "$1"; rm -rf "$T/copy"; cp -r "$T/site/trust/public" "$T/copy"; c=$T/copy
    eval "$2"; audit "$c" | tail -4; [ "${PIPESTATUS[0]}" = 0 ] || true
    audit "$c" >/dev/null; [ $rc = 1 ] || { echo "the audit missed it" >&2; exit 1; }
}
tamper "the last receipts are cut off"      'truncate -s -3000 "$c/receipts/$boot.notes"'
tamper "a leaf of the log is rewritten"     'f=$c/log/tile/entries/000.p/$(ls "$c/log/tile/entries/000.p" | sort -n | tail -1); printf X | dd of="$f" bs=1 seek=400 conv=notrunc status=none'
tamper "the policy is changed quietly"      'sed -i "s/process-in: .EU./process-in: [EU, US]/" "$c"/policies/*'
tamper "a witness is left out"              'sed -i "/vault.example/d" "$c/log/checkpoint"'
say "all four were found"
