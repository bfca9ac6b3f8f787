#!/bin/bash
# cli_test -- the planner's commands as a user meets them: an example becomes a plan, mistakes are told with their
# line, two plans are compared, Ctrl-C keeps the best so far, what is written is complete. From any directory.
set -u
tool=$(realpath "${B:-build}/tokenworks")
TW_SHARED=$(realpath -m "${TW_SHARED:-../shared}")
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
n=0; bad=0
check() { # check NAME CONDITION...
    n=$((n + 1)); name=$1; shift
    if "$@"; then echo "ok $n - $name"; else echo "not ok $n - $name"; bad=1; fi
}
has() { grep -qF -- "$2" "$1"; }

for e in billion own-silicon hospital token-factory; do "$tool" plan --example $e > $e.yaml; done
check "four examples are printed" test "$(grep -l '^scenario: ' ./*.yaml | wc -l)" = 4
"$tool" plan --example castle > out 2>&1
check "an unknown example is exit 2" test $? = 2
check "and the list is shown" has out "hospital"
"$tool" plan --catalogue > cat.txt
check "the catalogue is printed" has cat.txt "gb300-nvl72"

"$tool" plan billion.yaml -o bill --no-sensitivity --seconds 300 > out 2> err
check "the billion is planned" test $? = 0
for f in plan.json report.html units.csv costs.csv flows.csv slo.csv figures.csv; do
    check "it wrote $f" test -s bill/$f
done
cat > look.py <<'P'
import json, re, csv
p = json.load(open("bill/plan.json"))
need = "npv_usd capex_usd usd_per_mtok units bound gap hhi slo inputs_sha256".split()
assert all(k in p for k in need), [k for k in need if k not in p]
assert p["bound"] <= p["npv_usd"] and 0 <= p["gap"] <= 0.005 + 1e-9
u = p["units"]
assert all(set(("hardware", "supplier", "site", "quarter", "count")) <= set(x) for x in u)
racks = sum(x["count"] for x in u)
assert 240 <= racks <= 251, racks                        # 250 racks is what a billion buys
assert 0.9e9 < p["capex_usd"] <= 1e9
assert len({x["supplier"].split("-")[0] for x in u}) >= 2 and max(p["supplier_shares"].values()) <= 0.6 + 1e-6
assert abs(sum((100 * s) ** 2 for s in p["supplier_shares"].values()) - p["hhi"]) < 1e-3
assert re.fullmatch("[0-9a-f]{64}", p["inputs_sha256"])
assert p["slo"] and all(s["holds"] and s["ttft_p99_ms"] <= s["ttft_limit_ms"] for s in p["slo"])
for f in p["flows"]:                                     # every token is somewhere
    assert abs(sum(f["sites"].values()) + sum(f["apis"].values()) + f["unmet"] - f["tokens_per_s"]) < 1
assert sum(int(r["count"]) for r in csv.DictReader(open("bill/units.csv"))) == racks
h = open("bill/report.html").read()
assert h.count("<svg") == h.count("</svg>") >= 5 and "<script" not in h and "http" not in re.sub("NVIDIA[^<]*", "", h)
P
check "plan.json, units.csv and report.html say one thing" python3 look.py

sed 's/power: 80 kW/power: 80 furlongs/; s/slo: letters/slo: leters/' hospital.yaml > wrong.yaml
"$tool" plan wrong.yaml > out 2>&1
check "mistakes are exit 1" test $? = 1
check "the first names file, line and remedy" grep -q "^wrong.yaml:[0-9]*: power: unit 'furlongs' does not fit; use one of W" out
check "so does the second" grep -q "^wrong.yaml:[0-9]*: there is no slo 'leters' here; there are: dialogue, letters" out

"$tool" plan hospital.yaml -o h1 --no-simulate --no-sensitivity --what-if sites.north.power_price="0.60 EUR/kWh" > out 2> err
check "a what-if is planned beside the original" has out "first: as written; second: what if"
"$tool" plan hospital.yaml -o h2 --no-simulate --no-sensitivity > out 2> err
"$tool" plan --compare h2/plan.json h1/plan.json > out 2> err
check "two plans are compared" has out "NPV, USD"
check "dearer power costs more" python3 -c "
import json
a, b = (json.load(open(d + '/plan.json'))['npv_usd'] for d in ('h2', 'h1'))
assert b > a"

"$tool" plan --generate 1 > big.yaml
"$tool" plan big.yaml -o big --gap 0.000001 --no-simulate --no-sensitivity > out 2> err &
pid=$!; sleep 2; kill -INT $pid; wait $pid
check "Ctrl-C ends the search with a plan" test $? = 0
check "which is written, and says that it was stopped" python3 -c "
import json
p = json.load(open('big/plan.json'))
assert p['proven'] is False and p['bound'] < p['npv_usd']"

echo '{"results":[{"test":"pp512","tokens_per_s":1000},{"test":"tg64","tokens_per_s":20},{"test":"tg64@b32","tokens_per_s":300}]}' > bench.json
"$tool" plan --fit bench.json > out 2> err
check "bench --json is fitted" has out "step: {a: "

"$tool" simulate hospital.yaml --units h200x2@north=3 --units h200x2@south=3 --seconds 300 --json > s1.json 2> err
check "a fleet is simulated" test $? = 0
"$tool" simulate hospital.yaml --units h200x2@north=3 --units h200x2@south=3 --seconds 300 --json > s2.json 2> err
check "and replays" python3 -c "
import json
a, b = json.load(open('s1.json')), json.load(open('s2.json'))
a.pop('wall_s'); b.pop('wall_s')
assert a == b and a['tokens_per_s'] > 0"
"$tool" simulate hospital.yaml --units castle@north=3 > out 2>&1
check "an unknown unit is exit 1" test $? = 1
if [ -r "$TW_SHARED/traces/azure-2023-code.csv" ]; then
    "$tool" simulate hospital.yaml --units h200x8@north=2 --trace "$TW_SHARED/traces/azure-2023-code.csv" > out 2> err
    check "a recorded trace is replayed" has err "8819 requests"
else
    n=$((n + 1)); echo "ok $n - a recorded trace is replayed # SKIP no TW_SHARED/traces"
fi

"$tool" tco --hardware h200x8 --model llama-3.1-8b --api gpt-oss-120b --cloud 1.6 > out 2> err
check "tco answers" has out "a million output tokens"
"$tool" tco --hardware gb300-nvl72 --discount 0 --utilisation 1 --pue 1 --maintenance 0 --power-price 0 --rate 209328 --json > t.json
check "CapEx alone is 0.117 USD a million" python3 -c "
import json
assert abs(json.load(open('t.json'))['usd_per_mtok'] - 0.117) < 0.0005"
"$tool" tco --hardware castle > out 2>&1
check "an unknown machine is exit 1" test $? = 1
echo "1..$n"
exit $bad
