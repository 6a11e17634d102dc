#!/bin/sh
# Create the Docker image `pushmill-quickstart` (Python and a shell) unless it exists: from python:3.12-slim if a
# registry answers, otherwise from packages of Debian or Ubuntu.
set -eu

image=pushmill-quickstart
if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi

# fails at once without a network, and after Docker's 15 s behind a firewall that drops packets
if docker pull --quiet python:3.12-slim >/dev/null 2>&1; then
    exec docker tag python:3.12-slim "$image"
fi

echo "no image registry answers; building the image from this system's packages (about a minute)"
if [ "$(id -u)" != 0 ]; then
    echo "debootstrap needs root: run \`sudo sh $0\` once, then start again" >&2
    exit 1
fi
if ! command -v debootstrap >/dev/null && command -v apt-get >/dev/null; then
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends debootstrap; } \
        >/dev/null 2>&1 </dev/null || true
fi
if ! command -v debootstrap >/dev/null; then
    echo "debootstrap is missing: install it, or make an image with python3 and a shell and name it $image" >&2
    exit 1
fi

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# the mirror that apt uses here; debootstrap's own default is often another
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v codename="$codename" '$2 == codename && $3 == "main" { print $1; exit }')
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT TERM HUP
debootstrap --variant=minbase --include=python3,python3-yaml "$codename" "$root/tree" ${mirror:+"$mirror"} \
    >"$root/log" 2>&1 || {
    tail -n 3 "$root/log" >&2
    exit 1
}
rm -rf "$root/tree/var/cache/apt" "$root/tree/var/lib/apt/lists" "$root/tree/usr/share/doc"
tar -C "$root/tree" --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* -c . | docker import - "$image" >/dev/null
