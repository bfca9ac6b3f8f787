#!/bin/bash
# example_test -- examples/audit/run.sh runs, and its audit finds everything.
B=${B:-build}
if [ ! -x "$B/tokenworks" ]; then echo "ok 1 - examples/audit # SKIP $B/tokenworks is not built"; echo 1..1; exit 0; fi
models=${TOKENWORKS_HOME:-$HOME/.cache/tokenworks}/models
if ! ls "$models"/*.gguf >/dev/null 2>&1; then echo "ok 1 - examples/audit # SKIP the default model is not here (tools/deps run)"; echo 1..1; exit 0; fi
out=$(TOKENWORKS=$(realpath "$B/tokenworks") examples/audit/run.sh 2>&1)
if [ $? = 0 ] && tail -1 <<<"$out" | grep -q 'all four were found'; then echo "ok 1 - examples/audit"
else echo "not ok 1 - examples/audit"; tail -20 <<<"$out" | sed 's/^/# /'; fi
echo 1..1
