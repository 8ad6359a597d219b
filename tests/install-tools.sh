#!/usr/bin/env bash
# Sees to it that the programs which the client suites run are there. As root on a Debian system
# it installs what is missing; anyone else is told what to install.
set -euo pipefail

# Program, and the Debian packages that bring it.
needed=(
    "curl curl"
    "python3 python3-venv"
    "node nodejs"
    "npm npm"
    "promtool prometheus"
)

missing=()
packages=()
for entry in "${needed[@]}"; do
    read -r program package <<<"$entry"
    if ! command -v "$program" >/dev/null; then
        missing+=("$program")
        packages+=("$package")
    fi
done
((${#missing[@]})) || exit 0

printf 'missing: %s\n' "${missing[*]}"
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    printf 'install them and try again; on Debian: sudo apt-get install %s\n' "${packages[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
apt-get install --quiet --quiet --yes --no-install-recommends "${packages[@]}" </dev/null >/dev/null
hash -r
for program in "${missing[@]}"; do
    command -v "$program" >/dev/null || {
        printf '%s is still missing after installing %s\n' "$program" "${packages[*]}" >&2
        exit 1
    }
done
