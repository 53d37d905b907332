#!/bin/sh
# tests/check_includes.sh: holds the sources against the plan of the rooms: includes point down, or stay in their room.
#
# Each file of src/ belongs to one room, named below by its stem (what is not named belongs where its name without the
# last _word does), and each room stands on a floor.  A file may include the headers of its own room and of rooms on
# lower floors.  Rooms on one floor do not know each other.  A file with no room is an error, so that this table stays
# true.
set -eu

cd "${srcdir:-$(dirname "$0")/..}"

find src -name '*.[chS]' -o -name '*.def' | sort | xargs grep -H '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
	awk -F '"' '
	# room(path): "floor name" of the file, which stands in src/ at this path; "" when it has none.
	function room(path,    stem) {
		if (path ~ /^base\//) return "0 base"
		if (path ~ /^cli\//) return "7 cli"
		stem = path
		sub(/\.[a-zA-Z]+$/, "", stem)
		while (!(stem in rooms))
			if (!sub(/_[a-z0-9]+$/, "", stem)) return ""
		return rooms[stem]
	}
	function put(where, stems,    n, i, names) {
		n = split(stems, names, " ")
		for (i = 1; i <= n; i++) rooms[names[i]] = where
	}
	BEGIN {
		put("1 wheel", "wheel")
		put("1 work", "work")
		put("0 probe", "probe")
		put("1 fiber", "fiber")
		put("1 percent", "percent")
		put("1 config", "config")
		put("1 config", "model")
		put("1 method", "method")
		put("2 metrics", "metrics")
		put("1 cpus", "cpus")
		put("1 proto", "proto")
		put("1 capture", "capture elf modules peek symbols syscalls unwind")
		put("2 loop", "loop")
		put("2 http1", "http1")
		put("2 route", "route")
		put("2 pool", "pool")
		put("2 json", "json")
		put("2 advice", "advice")
		put("2 watch", "watch account crew lateness monitor stall")
		put("3 park", "park pipe")
		put("4 exchange", "after chain exchange hold lane request reply stream events dispatch sync trace wait")
		put("5 conn", "conn")
		put("6 server", "adviser app server endpoints listen control dashboard options signals supervisor")
	}
	{
		file = $1
		sub(/:.*/, "", file)
		sub(/^src\//, "", file)
		folder = file
		if (!sub(/\/[^\/]*$/, "", folder)) folder = ""
		target = $2
		if (target == "offloop.h") next
		# A header is looked for beside its includer first, then in src/.
		if (folder != "" && (getline line < ("src/" folder "/" target)) >= 0) {
			close("src/" folder "/" target)
			target = folder "/" target
		}
		mine = room(file)
		theirs = room(target)
		if (mine == "" || theirs == "") {
			printf "src/%s: no room is named for %s\n", file, mine == "" ? "it" : target
			bad = 1
		} else if (mine != theirs && mine + 0 <= theirs + 0) {
			printf "src/%s (%s) must not include %s (%s)\n",
				file, substr(mine, 3), target, substr(theirs, 3)
			bad = 1
		}
		n++
	}
	END {
		printf "%d includes looked at\n", n
		exit bad || !n
	}'
