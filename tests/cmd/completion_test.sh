#!/bin/bash
# completion_test -- the shells themselves read what `tokenworks completion` prints and complete with it.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}; n=0; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; echo "# ${out:-}"; fi; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
for s in bash zsh fish; do "$B/tokenworks" completion $s > "$dir/$s" || ok 1 "completion $s"; done
commands=$("$B/tokenworks" help | sed -n 's/^  \([a-z]*\) .*/\1/p' | grep -vx -e engine -e keeper | sort)

complete_bash() { # the words typed so far; the last one is being completed
    bash --norc -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _tokenworks
        printf "%s\n" "${COMPREPLY[@]}"' - "$dir/bash" "$@" | sort
}
out=$(bash -n "$dir/bash" 2>&1); ok $? "bash reads it"
out=$(complete_bash tokenworks "" | grep -vx help); [ "$out" = "$commands" ]; ok $? "bash knows every command"
bad=
for c in $commands; do
    want=$("$B/tokenworks" "$c" --help | sed -n 's/^  \(-[a-zA-Z], \|    \)\(--[a-z0-9-]*\).*/\2/p' | sort -u)
    got=$(complete_bash tokenworks "$c" --)
    for o in $want; do grep -qxe "$o" <<<"$got" || bad="$bad $c:$o"; done
done
out=$bad; [ -z "$bad" ]; ok $? "bash knows every option that --help shows"
out=$(complete_bash tokenworks serve --mod); [ "$out" = "$(printf -- '--model\n--models')" ]; ok $? "bash completes an option"
touch "$dir/one.gguf"
out=$(complete_bash tokenworks serve --model "$dir/on"); [ "$out" = "$dir/one.gguf" ]; ok $? "bash completes a file"

if command -v zsh >/dev/null; then
    out=$(zsh -n "$dir/zsh" 2>&1); ok $? "zsh reads it"
    # The function's own words, with zsh's completion helpers replaced by printers.
    out=$(zsh -f -c '_describe() { print -l $commands }; words=(tokenworks ""); CURRENT=2; source '"$dir/zsh" 2>&1 |
        sed 's/:.*//' | sort)
    [ "$out" = "$commands" ]; ok $? "zsh knows every command"
    out=$(zsh -f -c '_arguments() { print -l -- "$@" }; words=(tokenworks serve --m); CURRENT=3; source '"$dir/zsh" 2>&1)
    grep -q '^--model\[.*_files$' <<<"$out" && grep -q '^--threads\[.*:N:$' <<<"$out"; ok $? "zsh knows an option and its value"
else
    skip "zsh" "zsh is not installed"
fi
if command -v fish >/dev/null; then
    complete_fish() { HOME=$dir fish --no-config -c "source $dir/fish; complete -C '$1'" | cut -f1 | sort; }
    out=$(complete_fish "tokenworks "); [ "$out" = "$commands" ]; ok $? "fish knows every command"
    out=$(complete_fish "tokenworks serve --mod"); [ "$out" = "$(printf -- '--model\n--models')" ]; ok $? "fish completes an option"
else
    skip "fish" "fish is not installed"
fi
out=$("$B/tokenworks" completion csh 2>&1); [ $? = 2 ]; ok $? "another shell is wrong usage"
echo "1..$n"
