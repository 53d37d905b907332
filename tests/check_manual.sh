#!/bin/sh
# tests/check_manual.sh: the manual pages say what is there: each ol_ and OL_ name of the public header is described in
# offloop.3 and no other; its synopsis has the header's prototypes; its examples compile without a warning; and each option
# that a program's --help lists stands in offloop.1, and the other way round.
#
# Run in a build folder.  Names that end in an underscore are the header's own affair.  Where no program has been built the
# options are not looked at.
set -eu

top=${srcdir:-$(dirname "$0")/..}
header=$top/include/offloop.h
library_page=$top/man/offloop.3
program_page=$top/man/offloop.1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0

# same WHAT: complains unless $scratch/A and $scratch/B, lists of that, are the same and not empty.
same() {
	if [ ! -s "$scratch/A" ] || ! diff -u --label "$2" --label "$3" "$scratch/A" "$scratch/B"; then
		echo "$1: $2 and $3 differ, or are empty"
		status=1
	else
		echo "$1: $(wc -l <"$scratch/A") in $2 and $3"
	fi
}

names() {
	grep -oE '\b(ol|OL)_[A-Za-z0-9_]*[A-Za-z0-9]\b' | sort -u
}

# The header without comments, on one line.
declarations() {
	tr '\n' '\001' <"$header" | sed -E 's|/\*[^*]*\*+([^/*][^*]*\*+)*/||g' | tr '\001' '\n'
}

# ---- names

declarations | names >"$scratch/A"
sed -n '/^\.Sh DESCRIPTION/,/^\.Sh EXAMPLES/p' "$library_page" | names >"$scratch/B"
same names offloop.h 'the description in offloop.3'

# ---- prototypes, without blanks: "intol_text(ol_req*r,intstatus,constchar*text)"

declarations | sed -E ':again; /\\$/ { N; s/\\\n//; b again; }; /^[[:space:]]*#/d' | tr '\n\t' '  ' | tr ';{}' '[\n*]' |
	grep -v typedef | grep -E '\bol_[a-z0-9_]+\(' |
	sed -E 's/OL_CHECKED_|OL_PRINTF_\([^)]*\)//g; s/ //g; s/_\(/(/; s/constchar\*fmt,/format,/' | sort >"$scratch/A"
sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESCRIPTION/p' "$library_page" | awk '
	function put() { gsub(/[ "]/, "", text); print text }
	/^\.Ft / { type = substr($0, 5) }
	/^\.Fn / {
		name = $2
		sub(/^\.Fn [^ ]+ /, "")
		gsub(/" "/, ",")
		text = type name "(" $0 ")"
		put()
	}
	/^\.Fo / { text = type $2 "("; comma = "" }
	/^\.Fa / { text = text comma substr($0, 5); comma = "," }
	/^\.Fc/ { text = text ")"; put() }' | sort >"$scratch/B"
same prototypes offloop.h 'the synopsis of offloop.3'

# ---- examples

awk -v folder="$scratch" '
	/^\.Sh / { inside = /EXAMPLES/ }
	inside && /^\.Bd -literal/ { file = folder "/example" ++n ".c"; next }
	/^\.Ed/ { file = "" }
	file { gsub(/\\e/, "\\"); print >file }' "$library_page"
examples=0
for example in "$scratch"/example*.c; do
	# shellcheck disable=SC2046 # flags are words
	if ! ${CC:-cc} -fsyntax-only -Wall -Wextra -Werror -I "$top/include" $(pkg-config --cflags jansson) "$example"; then
		status=1
	fi
	examples=$((examples + 1))
done
echo "examples: $examples compiled"

# ---- options

if [ -x tests/examples/hello ]; then
	tests/examples/hello --help | sed -nE 's/^  (-h, )?--([a-z-]+).*/\2/p' | sort >"$scratch/A"
	sed -n '/^\.Sh OPTIONS/,/^\.Sh THE/p' "$program_page" | sed -nE 's/^\.It Fl (h , )?-([a-z-]+).*/\2/p' | sort >"$scratch/B"
	same options --help offloop.1
	sed -nE 's/.*Fl -([a-z-]+).*/\1/p' "$library_page" | grep -vx name | sort -u >"$scratch/named"
	if comm -13 "$scratch/B" "$scratch/named" | grep .; then
		echo "offloop.3 names these options, which offloop.1 does not have"
		status=1
	fi
else
	echo "options: not looked at, no program has been built"
fi
exit "$status"
