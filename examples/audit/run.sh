#!/bin/bash
# run -- a site that serves, witnesses, a proxy, a hundred requests, tampering, and the audit that finds it. Leaves nothing
# behind. Usage: run.sh [MODEL.gguf]
set -eu
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
tw=${TOKENWORKS:-$root/build/tokenworks}
[ -x "$tw" ] || { echo "build it first: make" >&2; exit 1; }
model=${1:-$(ls "${TOKENWORKS_HOME:-$HOME/.cache/tokenworks}"/models/*.gguf 2>/dev/null | head -1)}
[ -f "$model" ] || { echo "a model is needed: make run fetches one, or name a file" >&2; exit 1; }
model=$(realpath "$model"); T=$(mktemp -d); running=()
cleanup() { for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done; ip link del tw-audit 2>/dev/null || true
            ip netns del tw-witness 2>/dev/null || true; rm -rf "$T"; }
trap cleanup EXIT
say() { printf '\n== %s\n' "$*"; }
site() { TOKENWORKS_HOME=$T/site "$tw" "$@"; }
wait_for() { for _ in $(seq 300); do curl -sf -o /dev/null "$1" && return; sleep 0.1; done; echo "$1 does not answer" >&2; exit 1; }
up() { for _ in $(seq 100); do curl -s -o /dev/null "$1" && return; sleep 0.1; done; }

say "three witnesses make their keys"
for i in 1 2 3; do key[i]=$(TOKENWORKS_HOME=$T/w$i "$tw" witness init --name "witness$i.example/w"); done
address=127.0.0.1; inside=
if [ "$(id -u)" = 0 ] && ip netns add tw-witness 2>/dev/null; then # another network: a wire with two ends
    ip link add tw-audit type veth peer name tw-inside netns tw-witness
    ip addr add 198.18.7.1/30 dev tw-audit; ip link set tw-audit up
    ip -n tw-witness addr add 198.18.7.2/30 dev tw-inside; ip -n tw-witness link set tw-inside up
    address=198.18.7.2; inside="ip netns exec tw-witness"
fi
echo "1: a server at $address, in a network of its own; 2: a server here; 3: files only"

say "a site in one command, then what it runs, and under which rules"
site trust init --site berlin.example --witness "${key[1]} http://$address:19331" --witness "${key[2]} http://127.0.0.1:19332" \
    --witness "${key[3]}"
cp "$T/site/trust/public/trust.policy" "$T/mine.policy" # an auditor gets this from log and witnesses, not from the site
log=$(awk '/^log /{print $2}' "$T/mine.policy")
TOKENWORKS_HOME=$T/w1 $inside "$tw" witness --log "$log" --listen "$address:19331" serve 2>/dev/null & running+=($!)
TOKENWORKS_HOME=$T/w2 "$tw" witness --log "$log" --listen 127.0.0.1:19332 serve 2>/dev/null & running+=($!)
TOKENWORKS_HOME=$T/w3 "$tw" witness --log "$log" key >/dev/null
up "http://$address:19331/"; up http://127.0.0.1:19332/
site trust release --version 0.1.0 "$tw"
site trust model --name small "$model"
site trust policy "$here/policy.yaml"
for tenant in clinic partner; do site tenant add $tenant; site key add -t $tenant > "$T/$tenant"; done 2>/dev/null
site trust client --tenant clinic --out "$T/clinic.key"

say "the server, without any way out, and the client's proxy"
TOKENWORKS_HOME=$T/site "$tw" serve --model "$model" --listen 127.0.0.1:18331 --site berlin --air-gapped --ctx 512 & server=$!; running+=($server)
wait_for http://127.0.0.1:18331/health
TOKENWORKS_HOME=$T/client "$tw" proxy --url http://127.0.0.1:18331 --policy "$T/mine.policy" --key "$T/clinic.key" \
    --api-key "$(cat "$T/clinic")" --country DE --listen 127.0.0.1:18332 2>"$T/proxy.log" & running+=($!)
up http://127.0.0.1:18332/

say "a hundred requests: 60 of the clinic, sealed and signed; 40 of a partner whose data may not be processed here"
body='{"messages":[{"role":"user","content":"Say one word."}],"max_tokens":2}'
ask() { curl -s -o /dev/null -w '%{http_code}\n' -H 'Content-Type: application/json' -d "$body" "$@"; }
for _ in $(seq 60); do ask http://127.0.0.1:18332/v1/chat/completions; done | sort | uniq -c
for _ in $(seq 40); do ask -H "Authorization: Bearer $(cat "$T/partner")" http://127.0.0.1:18331/v1/chat/completions; done | sort | uniq -c
receipts=$T/client/proxy/receipts
for _ in $(seq 100); do [ "$(find "$receipts" -name '*.tlog-proof' | wc -l)" = 60 ] && break; sleep 0.1; done
echo "the proxy keeps $(find "$receipts" -name '*.note' | wc -l) receipts and $(find "$receipts" -name '*.tlog-proof' | wc -l) proofs"

say "one of them disclosed, and run again"
id=$(basename "$(find "$receipts" -name '*.note' | sort | head -1)" .note); printf %s "$body" > "$T/body"
"$tw" replay "$receipts/$id.note" --request "$T/body" --salts "$receipts/$id.salts" --model "$model" --ctx 512

say "the third witness signs by a file carried over, beside the running server"
site trust log request > "$T/request"
TOKENWORKS_HOME=$T/w3 "$tw" witness sign "$T/request" | head -c 60; echo ...
kill -TERM $server; wait $server || true

audit() { "$tw" audit --pseudonyms "$T/site/trust/keys" --models "$(dirname "$model")" "$1" "$T/mine.policy" && rc=0 || rc=$?; }
say "an honest audit"
audit "$T/site/trust/public"; [ $rc = 0 ]

boot=$(cat "$T/site/trust/boot")
tamper() { # name, what to do to the copy in $c
    say "$1"; rm -rf "$T/copy"; cp -r "$T/site/trust/public" "$T/copy"; c=$T/copy
    eval "$2"; audit "$c" | tail -4; [ "${PIPESTATUS[0]}" = 0 ] || true
    audit "$c" >/dev/null; [ $rc = 1 ] || { echo "the audit missed it" >&2; exit 1; }
}
tamper "the last receipts are cut off"      'truncate -s -3000 "$c/receipts/$boot.notes"'
tamper "a leaf of the log is rewritten"     'f=$c/log/tile/entries/000.p/$(ls "$c/log/tile/entries/000.p" | sort -n | tail -1); printf X | dd of="$f" bs=1 seek=400 conv=notrunc status=none'
tamper "the policy is changed quietly"      'sed -i "s/process-in: .US./process-in: [EU, US]/" "$c"/policies/*'
tamper "two witnesses are left out"         'sed -i "/witness[13].example/d" "$c/log/checkpoint"'
say "all four were found"
