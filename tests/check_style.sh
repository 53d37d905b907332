#!/bin/sh
# tests/check_style.sh: what a program can see of the house style: each .c of the library and the programs opens with an
# essay of 5 to 25 lines, and each test with a comment; no file is over 800 lines, and no line of C over 120 columns;
# functions that nobody can call safely are not called; no line ends in blanks; and Makefile.am names each file, else it
# would not be built or not be shipped.
set -eu
export LC_ALL=C

cd "${srcdir:-$(dirname "$0")/..}"

status=0

unlisted=$(find src include bench tests -name '*.[chS]' -o -name '*.def' -o -name '*.cc' | sort | while read -r file; do
	grep -qE "(^|[[:space:]])${file%.c}(\.c)?([[:space:]]|\$)" Makefile.am || echo "$file: not in Makefile.am"
done)
if [ -n "$unlisted" ]; then
	echo "$unlisted"
	status=1
fi

# shellcheck disable=SC2016 # the program is awk's to expand
find src include bench tests -name '*.[chS]' -o -name '*.def' -o -name '*.cc' -o -name '*.py' -o -name '*.sh' | sort |
	xargs awk '
	function complain(what) {
		printf "%s:%d: %s\n", FILENAME, FNR, what
		bad = 1
	}
	# columns(s): how wide a line is, with tabs of eight; of a character of UTF-8 its first byte counts.
	function columns(s,    n, i) {
		gsub(/[\200-\277]/, "", s)
		for (n = 0; (i = index(s, "\t")) > 0; s = substr(s, i + 1)) n += i - 1 + 8 - (n + i - 1) % 8
		return n + length(s)
	}
	function end_file() {
		if (opening == 1) { printf "%s: its opening comment never ends\n", file; bad = 1 }
		if (lines > 800) { printf "%s: %d lines, over 800\n", file, lines; bad = 1 }
	}
	FNR == 1 {
		if (file != "") end_file()
		file = FILENAME
		files++
		is_c = file ~ /\.(c|h|S|cc|def)$/
		essay = file ~ /^(src|bench)\/.*\.c$/
		opening = file ~ /\.c$/ && file !~ /^tests\/examples\/hello/
		if (opening && $0 !~ /^\/\*/) { complain("opens without a comment on what it is for"); opening = 0 }
	}
	{ lines = FNR }
	opening == 1 && /\*\// {
		opening = 0
		n = FNR - ($0 ~ /^ *\*\/$/)
		if (essay && (n < 5 || n > 25)) complain("the opening essay has " n " lines, not 5 to 25")
	}
	is_c && columns($0) > 120 { complain("wider than 120 columns") }
	/[ \t]$/ { complain("blanks at the end of the line") }
	is_c && /(^|[^A-Za-z0-9_"])(strcpy|strcat|sprintf|vsprintf|strtok|localtime|gmtime|atoi|atol|gets)[ \t]*\(/ {
		complain("calls a function that is not for us")
	}
	END {
		end_file()
		printf "%d files looked at\n", files
		exit bad || !files
	}' || status=1
exit "$status"
