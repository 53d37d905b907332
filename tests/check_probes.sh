#!/bin/sh
# tests/check_probes.sh: the library has the probes that the manual lists, and no other: each has its note in the file, with
# as many arguments as the manual names.
#
# Run in a build folder.  Skipped where configure has found no <sys/sdt.h> (USDT=no): then there is not to be any.
set -eu
export LC_ALL=C

library=.libs/liboffloop.so
page=${srcdir:-$(dirname "$0")/..}/man/offloop.1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# name and number of arguments, one probe a line
readelf -n "$library" 2>/dev/null | awk '
	$1 == "Provider:" { ours = $2 == "offloop" }
	ours && $1 == "Name:" { name = $2 }
	ours && $1 == "Arguments:" { print name, NF - 1 }' | sort -u >"$scratch/built"
sed -n '/^\.Sh PROBES/,/^\.Sh ENVIRONMENT/p' "$page" |
	sed -nE 's/^\.It Li ([a-z_]+) Pq (.*)/\1 \2/p' | tr -d , | awk '{ print $1, NF - 1 }' | sort -u >"$scratch/listed"

if [ "${USDT:-no}" != yes ]; then
	[ ! -s "$scratch/built" ] || { echo "there are probes without <sys/sdt.h>"; exit 1; }
	echo "skipped: built without <sys/sdt.h> (Debian: systemtap-sdt-dev)"
	exit 77
fi
[ -s "$scratch/built" ]
if ! diff -u --label 'the manual' --label "$library" "$scratch/listed" "$scratch/built"; then
	exit 1
fi
echo "$(wc -l <"$scratch/built") probes"
