#!/usr/bin/env bash
# tests/install_check.sh LIBDIR BINDIR MANDIR: with the offloop that was installed there an app can be built by
# pkg-config and nothing else, as C11 and as C++20, and answers; so does the same app as a shared object under
# `offloop run`.
#
# `make installcheck` runs it, and so does distcheck.
set -euo pipefail

libdir=$1
bindir=$2
mandir=$3
here=$(cd "$(dirname "$0")" && pwd)
examples=$here/examples
scratch=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT

unset CPATH C_INCLUDE_PATH LIBRARY_PATH CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS
export PKG_CONFIG_PATH="$libdir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
export LD_LIBRARY_PATH="$libdir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
read -ra flags < <(pkg-config --cflags --libs offloop)

# answers COMMAND...: starts the server, and asks it for a greeting.
answers() {
	local socket=$scratch/socket try
	"$@" --unix "$socket" --control off >"$scratch/log" 2>&1 &
	server=$!
	for ((try = 0; try < 100; try++)); do
		[ ! -S "$socket" ] || break
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	if [ "$(curl -sS --max-time 10 --unix-socket "$socket" http://localhost/hello/world)" != 'Hello, world!' ]; then
		echo "no greeting from: $*"
		cat "$scratch/log"
		return 1
	fi
	kill -TERM "$server"
	wait "$server"
	server=
	echo "answered: ${1##*/}${2:+ $2}"
}

cd "$scratch"
cc -std=c11 -Wall -Wextra -Wpedantic -Werror -o hello_c "$examples/hello.c" "${flags[@]}"
answers ./hello_c
if command -v c++ >/dev/null; then
	c++ -std=c++20 -Wall -Wextra -Wno-missing-field-initializers -Werror -o hello_cc "$examples/hello.cc" "${flags[@]}"
	answers ./hello_cc
fi
cc -std=c11 -shared -fPIC -o hello.so "$examples/hello.c" "${flags[@]}"
answers "$bindir/offloop" run ./hello.so:app
[ -s "$mandir/man1/offloop.1" ]
[ -s "$mandir/man3/offloop.3" ]
