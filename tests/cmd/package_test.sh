#!/bin/bash
# package_test -- the Debian package: made twice alike, installed into a folder, its unit verified, its program run.
set -u
cd "$(dirname "$0")/../.."
B=${B:-build}; n=0; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; echo "# ${out:-}" | head -20; fi; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
export DEB_MAINTAINER="Ward Nine <packages@hospital.example>" DEB_LEVEL=0
if [ -n "${SANITIZE:-}" ]; then echo "ok 1 - package # SKIP not of a sanitized build"; echo "1..1"; exit 0; fi
for tool in dpkg-deb dpkg-shlibdeps; do
    command -v $tool >/dev/null || { echo "ok 1 - package # SKIP no $tool"; echo "1..1"; exit 0; }
done
mkdir "$dir/a" "$dir/b"
for x in a b; do cp "$B/tokenworks" "$dir/$x/"; out=$(SOURCE_DATE_EPOCH=1767225600 packaging/deb "$dir/$x" 0.1.0 2>&1) || break; done
deb=$(ls "$dir"/a/*.deb); ok $? "the package is built"
cmp -s "$dir"/a/*.deb "$dir"/b/*.deb; ok $? "twice the same bytes"
out=$(dpkg-deb -f "$deb" Depends); for p in libevent libssl libsodium libjansson libc6; do grep -q "$p" <<<"$out" || out="no $p in $out"; done
[[ $out != no* ]]; ok $? "it depends on what the program is linked with"
root=$dir/root; mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"; touch "$root/var/lib/dpkg/status"
install_it() { dpkg --root="$root" --force-depends --force-not-root --force-script-chrootless --log="$dir/log" "$@" 2>&1; }
out=$(install_it --force-confold -i "$deb"); ok $? "dpkg installs it into a folder"
out=$(cd "$root" && md5sum -c --quiet var/lib/dpkg/info/tokenworks.md5sums 2>&1); ok $? "every file is as its sum says"
out=$("$root/usr/bin/tokenworks" version 2>&1); grep -q 0.1.0 <<<"$out"; ok $? "the program runs"
bad=
for f in usr/share/man/man1/tokenworks-serve.1.gz usr/share/bash-completion/completions/tokenworks \
         usr/share/zsh/vendor-completions/_tokenworks usr/share/fish/vendor_completions.d/tokenworks.fish \
         lib/systemd/system/tokenworks.service lib/systemd/system/tokenworks-worker.service \
         lib/systemd/system/tokenworks-gateway.service usr/share/tokenworks/tokenworks-sites usr/lib/sysusers.d/tokenworks.conf usr/share/doc/tokenworks/copyright; do
    [ -s "$root/$f" ] || bad="$bad $f"
done
out=$bad; [ -z "$bad" ]; ok $? "manual, completions, unit and notices are in their places"
mkdir -p "$dir/models"; sed "s|/var/lib/tokenworks/models|$dir/models|; s|:8080|:0|" "$root/etc/tokenworks/config.yaml" > "$dir/c.yaml"
TOKENWORKS_HOME=$dir timeout 20 "$root/usr/bin/tokenworks" serve --config "$dir/c.yaml" > "$dir/out" 2>&1 & pid=$!
for i in $(seq 100); do grep -q listening "$dir/out" && break; sleep .1; done
kill $pid; wait $pid; rc=$?; out=$(cat "$dir/out"); [ $rc = 0 ] && grep -q listening <<<"$out"; ok $? "it serves with the configuration it brings"
echo "# mine" >> "$root/etc/tokenworks/config.yaml"
out=$(install_it --force-confold -i "$deb" && grep '# mine' "$root/etc/tokenworks/config.yaml"); ok $? "an upgrade keeps the operator's configuration"
out=$(install_it -r tokenworks; [ ! -e "$root/usr/bin/tokenworks" ] && [ -e "$root/etc/tokenworks/config.yaml" ]); ok $? "removal leaves the configuration"
out=$(install_it -P tokenworks; [ ! -e "$root/etc/tokenworks/config.yaml" ]); ok $? "a purge does not"
if command -v systemd-analyze >/dev/null; then
    for unit in tokenworks tokenworks-worker tokenworks-gateway; do
        sed "s|/usr/bin/tokenworks|$PWD/$B/tokenworks|; /^Documentation/d" packaging/systemd/$unit.service > "$dir/$unit.service"
        out=$(systemd-analyze verify --man=no "$dir/$unit.service" 2>&1); [ $? = 0 ] && [ -z "$out" ]; ok $? "systemd-analyze verifies $unit"
        out=$(systemd-analyze security --offline=true --threshold=30 "$dir/$unit.service" 2>&1); ok $? "its exposure is 3.0 at most"
    done
else
    skip "the unit" "no systemd-analyze"
fi
if command -v lintian >/dev/null; then # the host's name is no mail domain, and systemctl is called by hand: known
    out=$(lintian --allow-root "$deb" 2>/dev/null | grep -v -e bogus-mail-host -e mail-address -e maintainer-script-calls-systemctl -e '^N:')
    [ -z "$out" ]; ok $? "lintian has nothing else to say"
else
    skip "lintian" "not installed"
fi
# The container file cannot be built without a daemon: its instructions and the files it copies are checked.
out=$(awk '/^[A-Z]/ { print $1 }' packaging/Containerfile | grep -vxE 'FROM|RUN|COPY|WORKDIR|USER|ENV|VOLUME|EXPOSE|STOPSIGNAL|ENTRYPOINT|CMD')
[ -z "$out" ] && grep -q '^FROM debian:12-slim AS build' packaging/Containerfile; ok $? "the container file's instructions are known ones"
out=$(sed -n 's/^ENTRYPOINT \(.*\)/\1/p; s/^CMD \(.*\)/\1/p' packaging/Containerfile | python3 -c 'import json, sys
for line in sys.stdin:
    for word in json.loads(line):
        if word.startswith("--"): print(word)'); bad=
help=$("$B/tokenworks" serve --help); for o in $out; do grep -qe "$o " <<<"$help" || bad="$bad $o"; done
out=$bad; [ -z "$bad" ]; ok $? "its command has options that serve knows"
echo "1..$n"
