#!/bin/sh
# tests/check_exports.sh: the functions that the public header declares are the names the library exports: no more, no
# fewer.
#
# Run in a build folder.  The header is preprocessed, so that comments and macros are out of the way; a declared function
# is an ol_ name right before a parenthesis in what is no typedef.
set -eu

library=.libs/liboffloop.so
header=${srcdir:-$(dirname "$0")/..}/include/offloop.h
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

${CC:-cc} -E -P "$header" | tr '\n' ' ' | tr ';{}' '[\n*]' | grep -v typedef |
	grep -oE '\bol_[a-z0-9_]+ *\(' | tr -d ' (' | sort -u >"$scratch/declared"
${NM:-nm} -D --defined-only "$library" | awk '$2 ~ /^[A-Z]$/ { sub(/@.*/, "", $3); print $3 }' |
	sort -u >"$scratch/exported"

if ! diff -u --label declared --label exported "$scratch/declared" "$scratch/exported"; then
	exit 1
fi
[ -s "$scratch/declared" ]
echo "$(wc -l <"$scratch/declared") functions declared and exported"
