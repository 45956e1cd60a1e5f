#!/bin/sh
# Makes a base image without a registry: base.sh NAME [podman|docker]. Debian 12 by debootstrap, as root, and without what
# Debian's own slim image leaves out too.
set -eu
name=$1 engine=${2:-podman}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase bookworm "$root" >&2
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
for folder in doc info locale man; do rm -rf "$root/usr/share/$folder"/*; done
tar -C "$root" -c . | "$engine" import - "$name"
