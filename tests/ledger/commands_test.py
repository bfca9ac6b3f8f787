#!/usr/bin/env python3
"""commands_test -- key, tenant and usage from outside: what a person types, what a file then holds, what is exported."""
import csv, hashlib, io, json, os, re, sqlite3, subprocess, sys, tempfile
from decimal import Decimal

BINARY = os.path.join(os.environ.get("B", "build"), "tokenworks")
failures, count = [], 0


def check(what, condition, seen=""):
    if not condition:
        failures.append(what)
        print(f"# {what}: {seen}")


def test(function):
    global count
    count += 1
    before = len(failures)
    with tempfile.TemporaryDirectory() as state:
        def run(*arguments, code=0):
            p = subprocess.run([BINARY, *arguments], capture_output=True, text=True,
                               env={**os.environ, "TOKENWORKS_HOME": state})
            check(f"exit status of {arguments}", p.returncode == code, f"{p.returncode}: {p.stdout}{p.stderr}")
            return p
        function(run, os.path.join(state, "ledger.db"))
    print(f"{'ok' if len(failures) == before else 'not ok'} {count} - {function.__name__}")


def a_key_is_shown_once(run, path):
    check("no ledger yet", "no ledger" in run("key", "list", code=1).stderr)
    run("tenant", "add", "hospital", "--weight", "3", "--tokens-per-day", "1000")
    key = run("key", "add", "-t", "hospital", "--team", "lab", "-m", "a, b", "--expires", "90d",
              "--requests-per-minute", "60").stdout.strip()
    check("form", re.fullmatch(r"tw-[A-Za-z0-9_-]{43}", key), key)
    db = sqlite3.connect(path)
    row = db.execute("SELECT hash, hint, models, expires_ms - created_ms FROM key").fetchone()
    check("only the hash is kept", row[0] == hashlib.sha256(key.encode()).digest() and row[1] == key[:8], row)
    check("models", row[2] == "a b", row)
    check("90 days", abs(row[3] - 90 * 86400000) < 5000, row)
    check("nowhere in the files", all(key.encode() not in open(path + s, "rb").read()
                                      for s in ("", "-wal") if os.path.exists(path + s)))
    check("mode", os.stat(path).st_mode & 0o777 == 0o600)
    listed = json.loads(run("key", "list", "--json").stdout)
    check("listed", listed[0]["tenant"] == "hospital" and listed[0]["team"] == "lab" and key not in str(listed))
    limits = json.loads(run("key", "limits", "--json").stdout)
    check("limits", sorted((x["scope"], x["what"], x["value"]) for x in limits) ==
          [("key", "requests per minute", 60), ("tenant", "tokens per day", 1000)], limits)
    run("key", "limit", "1", "--requests-per-minute", "0")
    check("0 removes", len(json.loads(run("key", "limits", "--json").stdout)) == 1)
    run("key", "revoke", key)
    check("revoked", json.loads(run("key", "list", "--json").stdout)[0]["revoked_ms"] > 0)


def wrong_usage_says_what_to_do(run, path):
    run("tenant", "add", "x")
    for code, arguments in [(2, ["key"]), (2, ["key", "frobnicate"]), (2, ["key", "revoke"]), (1, ["key", "revoke", "9"]),
                            (1, ["key", "add"]), (1, ["key", "add", "-t", "nobody"]), (1, ["tenant", "add", "x"]),
                            (1, ["key", "add", "-t", "x", "--role", "king"]), (1, ["tenant", "add", "bad\nname"]),
                            (1, ["key", "add", "-t", "x", "--expires", "2020-01-01"]),
                            (1, ["key", "add", "-t", "x", "--expires", "2027-02-31"]),
                            (1, ["key", "add", "-t", "x", "--money-per-day", "1e3"]),
                            (1, ["usage", "price", "m", "--prompt", "-1", "--output", "1"]),
                            (1, ["usage", "--by", "moon"]), (1, ["usage", "currency", "euro"]),
                            (1, ["usage", "purge", "2999-01-01"]), (1, ["tenant", "erase", "x"])]:
        p = run(*arguments, code=code)
        check(f"a sentence for {arguments}", p.stderr.startswith("tokenworks ") and not p.stdout, p.stderr)
    check("a key asked for with a wrong limit was not made", json.loads(run("key", "list", "--json").stdout) == [])


# FOCUS 1.2: every dataset has these.
MANDATORY = """BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd BillingPeriodStart
ChargeCategory ChargeClass ChargeDescription ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost
InvoiceIssuerName ListCost PricingQuantity PricingUnit ProviderName PublisherName ServiceCategory ServiceName""".split()
OURS = "x_PromptTokens x_CachedTokens x_OutputTokens x_EnergyJ x_Jurisdiction x_ReceiptHash".split()


def rows_into(path, rows):
    db = sqlite3.connect(path)
    for i, (tenant, model, prompt, cached, output, cost, when) in enumerate(rows):
        db.execute("INSERT INTO usage(request_id, started_ms, settled_ms, tenant, team, key, model, prompt, cached, output,"
                   " queue_us, prefill_us, decode_us, kv_page_ms, energy_mj, energy_modelled, cost_micros, finish,"
                   " jurisdiction, receipt) VALUES(?,?,?,?,0,0,?,?,?,?,0,0,0,0,1500,1,?,'stop','DE',?)",
                   (f"r{i}", when - 1500, when, tenant, model, prompt, cached, output, cost, bytes(range(32))))
        db.execute("INSERT INTO daily VALUES(?,?,0,0,?,1,?,?,?,?,1500) ON CONFLICT DO UPDATE SET requests = requests + 1,"
                   " prompt = prompt + excluded.prompt, cached = cached + excluded.cached, output = output +"
                   " excluded.output, cost_micros = cost_micros + excluded.cost_micros, energy_mj = energy_mj + 1500",
                   (when // 86400000, tenant, model, prompt, cached, output, cost))
    db.commit()


def the_export_is_focus_and_sums_up(run, path):
    run("tenant", "add", '=cmd|"/C calc", Ltd')
    march = 1772366400000  # 2026-03-01 12:00 UTC
    rows = [(2, "m,1", 1000 + i, i, 50, 123457 + i, march + i * 3600000) for i in range(100)]
    rows_into(path, rows)
    p = run("usage", "export", "--provider", "House")
    table = list(csv.DictReader(io.StringIO(p.stdout)))
    check("rows", len(table) == 100, len(table))
    missing = [c for c in MANDATORY + OURS if c not in table[0]]
    check("columns", not missing, missing)
    total = sum(Decimal(r["BilledCost"]) for r in table)
    check("cost", total == Decimal(sum(r[5] for r in rows)) / 1000000, total)
    check("tokens", sum(int(r["x_PromptTokens"]) for r in table) == sum(r[2] for r in rows))
    check("energy", sum(Decimal(r["x_EnergyJ"]) for r in table) == Decimal("150"))
    r = table[0]
    check("dates", (r["BillingPeriodStart"], r["BillingPeriodEnd"], r["ChargePeriodStart"], r["ChargePeriodEnd"]) ==
          ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", "2026-03-01T11:59:58Z", "2026-03-01T12:00:01Z"), r)
    for r in table:
        check("price x quantity = cost", Decimal(r["ListUnitPrice"]) * Decimal(r["PricingQuantity"]) ==
              Decimal(r["ListCost"]) == Decimal(r["ContractedCost"]) == Decimal(r["EffectiveCost"]))
        check("allowed values", (r["ChargeCategory"], r["ServiceCategory"], r["ServiceSubcategory"], r["PricingCategory"],
              r["ChargeFrequency"], r["BillingCurrency"]) ==
              ("Usage", "AI and Machine Learning", "Generative AI", "Standard", "Usage-Based", "EUR"), r)
    check("receipt", table[0]["x_ReceiptHash"].lower() == bytes(range(32)).hex())
    check("a name is no formula", table[0]["BillingAccountName"].startswith("'="), table[0]["BillingAccountName"])
    check("a comma is no column", table[0]["ResourceId"] == "m,1")
    some = run("usage", "export", "--from", "2026-03-02", "--to", "2026-03-03")
    check("range", len(list(csv.DictReader(io.StringIO(some.stdout)))) == 24, some.stderr)
    shown = json.loads(run("usage", "--by", "day", "--from", "2026-03-01", "--to", "2026-03-06", "--json").stdout)
    check("days add up to the export", sum(x["cost_micros"] for x in shown) == sum(r[5] for r in rows))
    s = json.loads(run("usage", "statement", "-t", '=cmd|"/C calc", Ltd', "--month", "2026-03", "--json").stdout)
    check("statement", s[0]["cost_micros"] == sum(r[5] for r in rows) and s[0]["requests"] == 100, s)
    check("verified", "0 differences" in run("usage", "verify").stdout)
    run("usage", "purge", "2026-03-03")
    check("purged rows leave their sums", "0 differences" in run("usage", "verify").stdout)
    shown = json.loads(run("usage", "--by", "month", "--json").stdout)
    check("still summed", shown[0]["requests"] == 100 and shown[0]["month"] == "2026-03", shown)
    run("usage", "currency", "USD", code=1)
    db = sqlite3.connect(path)
    db.execute("DELETE FROM usage WHERE id = (SELECT max(id) FROM usage)")
    db.commit()
    run("usage", "verify", code=1)


if not os.path.exists(BINARY):
    sys.exit(f"not ok 1 - {BINARY} is missing")
for t in (a_key_is_shown_once, wrong_usage_says_what_to_do, the_export_is_focus_and_sums_up):
    test(t)
print(f"1..{count}")
sys.exit(1 if failures else 0)
