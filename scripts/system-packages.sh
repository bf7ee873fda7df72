#!/usr/bin/env bash
# Install the Debian packages whose programs the tests run. Silent if nothing is missing. With
# the argument "containers" also those of `nox -s containers`.
#
# Needs root on Debian; elsewhere it says what is missing and how to get it, which is an
# error only with CI=true. Services that come along are neither started nor enabled.
set -euo pipefail

# Debian package | programs of it that tests run | services of it, which must not start
needs='
prometheus | prometheus promtool | prometheus
redis-server | redis-server redis-cli | redis-server
openssl | openssl |
chromium | chromium |
iproute2 | ip |
docker-compose | docker-compose |
'
if [[ ${1-} == containers ]]; then
    needs+='
buildah | buildah |
podman | podman | podman podman.socket podman-auto-update podman-restart
runc | runc |
conmon | conmon |
catatonit | catatonit |
netavark | /usr/lib/podman/netavark |
aardvark-dns | /usr/lib/podman/aardvark-dns |
iptables | iptables |
mmdebstrap | mmdebstrap |
'
fi

programs=() packages=() services=()
while IFS='|' read -r package wanted service; do
    for program in $wanted; do
        if ! command -v "$program" >/dev/null; then
            programs+=("$program") packages+=($package) services+=($service)
        fi
    done
done <<<"$needs"
if ((${#programs[@]} == 0)); then exit 0; fi

if ! command -v apt-get >/dev/null; then
    remedy='install them with the package manager of this system'
elif ((EUID != 0)); then
    remedy="sudo $0 $*"
fi
if [[ -n ${remedy-} ]]; then
    echo "missing: ${programs[*]} (some tests need them); remedy: $remedy" >&2
    if [[ ${CI-} == true ]]; then exit 1; else exit 0; fi
fi

# Debian starts what it installs unless this file, asked first, says no (101).
policy=/usr/sbin/policy-rc.d
if [[ -e $policy ]]; then
    mv "$policy" "$policy.before"
    trap 'mv "$policy.before" "$policy"' EXIT
else
    trap 'rm -f "$policy"' EXIT
fi
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod +x "$policy"

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}"
}
echo "installing Debian packages that bring ${programs[*]}"
install >/dev/null 2>&1 || { apt-get update -qq && install >/dev/null; }

if command -v systemctl >/dev/null; then
    systemctl --quiet disable "${services[@]}" 2>/dev/null || true  # nor at the next boot
fi
hash -r
for program in "${programs[@]}"; do
    command -v "$program" >/dev/null || { echo "$program is still missing" >&2; exit 1; }
done
