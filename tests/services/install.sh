#!/usr/bin/env bash
# Install what tests of real services need, where this machine lets us (Debian, root).
# Elsewhere say what is missing: those tests are then skipped, and fail where CI is set.
set -euo pipefail

packages=()
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || packages+=(maven)
compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || packages+=(postgresql)
command -v redis-server >/dev/null || packages+=(redis-server)
command -v redis-cli >/dev/null || packages+=(redis-tools)
command -v chromium >/dev/null || packages+=(chromium)

if [[ ${#packages[@]} -eq 0 ]]; then
    exit 0
fi
if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "Tests on a real Kafka, PostgreSQL, Redis and browser need: ${packages[*]} (as root on Debian: $0)" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null; then
    echo "apt-get could not install ${packages[*]}; tests that need them will say so" >&2
fi
