# shellcheck shell=bash disable=SC2154
# tests/steps.sh: what `./dev test` does, step by step.  ./dev reads this file; it is no program of its own.
#
# A build is a folder: build/ itself (the plain one), build/asan, build/tsan, build/clang, build/nouring, build/install,
# build/fuzz.  Wire scripts and scenarios find the programs of a build by TEST_BUILD, the folder's absolute path, and
# run with OFFLOOP_BACKEND=uring or libevent; where io_uring is not to be had, the steps for it are skipped.

quick_steps='build unit wire-uring wire-libevent scenario-uring scenario-libevent sidebyside docs'
all_steps="$quick_steps dashboard clang
	asan-build asan-unit asan-wire-uring asan-wire-libevent asan-scenario-uring asan-scenario-libevent
	tsan-build tsan-unit tsan-wire-uring tsan-wire-libevent tsan-scenario-uring tsan-scenario-libevent
	fuzz nouring install distcheck"

# run_step NAME: what a step does.
run_step() {
	local kind=plain what=$1
	case $what in
	asan-* | tsan-*)
		kind=${what%%-*}
		what=${what#*-}
		;;
	esac
	case $what in
	build) build_kind "$kind" ;;
	unit) unit "$kind" ;;
	wire-* | scenario-*) "${what%-*}" "$kind" "${what##*-}" ;;
	clang) build_kind clang ;;
	nouring)
		build_kind nouring
		unit nouring
		;;
	*) "step_$what" ;;
	esac
}

folder_of() {
	case $1 in
	plain) say "$build" ;;
	*) say "$build/$1" ;;
	esac
}

# build_kind KIND: the library, every program and every test of that build, warnings being errors.
build_kind() {
	local folder
	folder=$(folder_of "$1")
	case $1 in
	plain) configure_in "$folder" ;;
	clang) configure_in "$folder" CC=clang CXX=clang++ ;;
	asan) configure_in "$folder" --enable-asan --enable-ubsan CFLAGS='-g -O1' ;;
	tsan) configure_in "$folder" --enable-tsan CC=clang CXX=clang++ CFLAGS='-g -O1' ;;
	nouring) configure_in "$folder" --without-io-uring ;;
	esac
	case $1 in
	plain | clang) set -- bench ;;
	*) set -- ;;
	esac
	make -C "$folder" -j"$jobs" WERROR=-Werror all check-programs "$@"
}

sanitizers_of() {
	case $1 in
	asan) say address,undefined ;;
	tsan) say thread ;;
	esac
}

# unit KIND: `make check`.  Cases are counted where a program says how many it had.
unit() {
	local folder status=0
	folder=$(folder_of "$1")
	make -C "$folder" -j"$jobs" WERROR=-Werror VERBOSE=1 check >"$folder/check.log" 2>&1 || status=$?
	cat "$folder/check.log"
	sed -E '/^(PASS|FAIL|ERROR|XPASS|SKIP): /!d; s/:|\.sh$//g' "$folder/check.log" | sort -u >"$folder/check.words"
	sed -n 's/^SKIP /skipped: /p' "$folder/check.words"
	while read -r word name; do
		sed -nE "s/^[0-9]+%: Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+).*/$word \\1 \\2 \\3/p" \
			"$folder/$name.log" | grep . || say "$word"
	done <"$folder/check.words" | awk '
		NF == 4 { passed += $2 - $3 - $4; failed += $3 + $4; next }
		$1 == "PASS" { passed++ }
		$1 == "SKIP" { skipped++ }
		$1 ~ /FAIL|ERROR|XPASS/ { failed++ }
		END { print passed + 0, failed + 0, skipped + 0 }' >"$tally"
	return "$status"
}

# conditions_of KIND: sets the stage for tests of that build.
conditions_of() {
	export TEST_BUILD SANITIZERS PYTHONDONTWRITEBYTECODE=1
	TEST_BUILD=$(folder_of "$1")
	SANITIZERS=$(sanitizers_of "$1")
}

# backend KIND NAME: on that backend besides.
backend() {
	conditions_of "$1"
	export OFFLOOP_BACKEND=$2
	[ "$2" != uring ] || "$TEST_BUILD/tests/have_uring"
}

# Wire scripts are varnishtest's, the client's side only: they find the server at ${addr}, HOST:PORT.  The server must
# end well, too: that is where leaks are reported.
wire() {
	local log=$logs/wire.server server address='' try status=0
	backend "$@"
	: >"$log"
	TEST_TIMEOUT=0 tests/run "$TEST_BUILD/tests/testapp" --host 127.0.0.1 --port 0 --control off >"$log" 2>&1 &
	server=$!
	# shellcheck disable=SC2064 # this server's
	trap "kill $server 2>/dev/null" EXIT
	for ((try = 0; try < 300; try++)); do
		address=$(sed -nE '/listening on/{s/.*listening on http:..([0-9.]+:[0-9]+).*/\1/p;q}' "$log")
		[ -z "$address" ] || break
		sleep 0.1
	done
	varnishtest -k -j "$jobs" -t 120 -D addr="$address" tests/wire/*.vtc >"$logs/wire.out" 2>&1 || status=$?
	cat "$logs/wire.out"
	sed -nE 's/^# +top +TEST ([^ ]+) skipped.*/skipped: \1/p' "$logs/wire.out"
	awk '/^# .* passed/ { passed++ } /^# .* FAILED/ { failed++ } /^# .* skipped/ { skipped++ }
		END { print passed + 0, failed + 0, skipped + 0; exit passed == 0 }' "$logs/wire.out" >"$tally" || status=1
	kill "$server"
	wait "$server" || status=$?
	trap - EXIT
	say "---- the server's log" && cat "$log"
	return "$status"
}

# Scenarios mostly wait, each for servers of its own, so more of them run at once than there are CPUs.
scenario() {
	backend "$@"
	pytest_in tests/scenario "$(find_python pytest,xdist)" 900 -n $((2 * jobs))
}

# The same scenarios on FastAPI and on offloop, one by one, since some of them measure.
step_sidebyside() {
	local python
	if ! python=$(find_python pytest,fastapi,uvicorn); then
		say "skipped: FastAPI or its server is not installed (python3-fastapi, python3-uvicorn)"
		return 77
	fi
	backend plain auto
	pytest_in tests/sidebyside "$python" 300
}

# The control plane's page in a headless Chromium, which is fetched for who names this step.
step_dashboard() {
	backend plain libevent
	case $named in
	*' dashboard '*) have_chromium || fetch_chromium ;;
	esac
	if ! have_chromium; then
		say "skipped: there is no Chromium; ./dev test dashboard fetches one (100 MB) into build/tools"
		return 77
	fi
	pytest_in tests/dashboard "$(find_python pytest,xdist)" 300 -n "$jobs"
}

# pytest_in FOLDER PYTHON SECONDS [ARG...]: the tests of a folder, once the stage is set, and how many did what.
pytest_in() {
	local folder=$1 python=$2 seconds=$3 status=0
	shift 3
	TEST_TIMEOUT=$seconds tests/run "$python" -m pytest -p no:cacheprovider -q -ra "$@" "$folder" \
		>"$logs/pytest.out" 2>&1 || status=$?
	cat "$logs/pytest.out"
	sed -nE 's/^SKIPPED .*] /skipped: /p' "$logs/pytest.out"
	tail -n 1 "$logs/pytest.out" | awk '
		{ for (i = 2; i <= NF; i++) { sub(/,$/, "", $i); n[$i] = $(i - 1) } }
		END {
			print n["passed"] + n["xfailed"], n["failed"] + n["error"] + n["errors"] + n["xpassed"],
				n["skipped"] + 0
		}' >"$tally"
	return "$status"
}

# Each fuzz target runs for FUZZ_SECONDS from its corpus, which it does not change.
step_fuzz() {
	local folder=$build/fuzz target name passed=0 failed=0
	configure_in "$folder" --enable-fuzzing CC=clang CXX=clang++ CFLAGS='-g -O1'
	make -C "$folder" -j"$jobs" WERROR=-Werror fuzz-programs
	cd "$folder" || return
	for target in "$root"/tests/fuzz/fuzz_*.c; do
		name=$(basename "$target" .c)
		mkdir -p "found/$name"
		if SANITIZERS=address,undefined "$root/tests/run" "tests/fuzz/$name" \
			-max_total_time="${FUZZ_SECONDS:-10}" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="found/$name-" "found/$name" \
			"$root/tests/fuzz/corpus/${name#fuzz_}"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
			say "FAILED: $name; the input is in $folder/found"
		fi
	done
	say "$passed $failed 0" >"$tally"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# Installed under a prefix of its own, and an app built against that.
step_install() {
	configure_in "$build/install" --prefix="$build/install/prefix"
	rm -rf "$build/install/prefix"
	make -C "$build/install" -j"$jobs" WERROR=-Werror install
	make -C "$build/install" installcheck
}

step_distcheck() {
	configure_in "$build"
	make -C "$build" -j"$jobs" distcheck DISTCHECK_CONFIGURE_FLAGS=--enable-werror
}

# The man pages are well formed, and every file that the documents link to is there.
step_docs() {
	local page target status=0
	for page in man/*.[1-9]; do
		mandoc -Tlint -Wwarning "$page" || status=1
	done
	for page in *.md doc/*.md; do
		while read -r target; do
			[ -e "${page%"${page##*/}"}$target" ] || { say "$page: no $target" && status=1; }
		done < <(grep -oE '\]\([^)#:]+\)' "$page" | tr -d '])(')
	done
	return "$status"
}

test_all() {
	local named=" $* " chosen=() name wanted word passed=0 failed=0 skipped=0 p f s rows='' start=$SECONDS
	case ${1:-} in
	-l)
		tr -s ' \t' '\n' <<<"$all_steps"
		return
		;;
	-q)
		# shellcheck disable=SC2206
		chosen=($quick_steps)
		;;
	'')
		# shellcheck disable=SC2206
		chosen=($all_steps)
		;;
	*)
		for wanted in "$@"; do
			word=
			for name in $all_steps; do
				[ "$name" = "$wanted" ] || [ "${name#"$wanted"-}" != "$name" ] || continue
				chosen+=("$name")
				word=found
			done
			[ -n "$word" ] || die "there is no step '$wanted'; ./dev test -l lists them"
		done
		;;
	esac

	need test_needs
	need_tools
	[[ " ${chosen[*]} " != *" sidebyside "* ]] || want sidebyside_needs
	want build_wants
	for name in "${chosen[@]}"; do
		step "$name" run_step "$name"
		p=0 f=0 s=0
		if [ -s "$tally" ]; then
			read -r p f s <"$tally"
		fi
		case $step_word$p$f$s in
		ok000) p=1 ;;
		skipped*) s=$((s + 1)) ;;
		FAILED*) [ "$f" -gt 0 ] || f=1 ;;
		esac
		rows+=$(printf '%-24s %-8s %7s %7s %7s %7s' "$name" "$step_word" "$p" "$f" "$s" "$step_seconds")$'\n'
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	done

	say
	printf '%-24s %-8s %7s %7s %7s %7s\n' step result passed failed skipped seconds
	printf '%s' "$rows"
	for name in "${chosen[@]}"; do
		sed -n "s/^skipped: /skipped in $name: /p" "$logs/$name.log"
	done
	for name in "${chosen[@]}"; do
		awk 'sub(/^table: /, "") { if (!shown++) print ""; print }' "$logs/$name.log"
	done
	say
	say "$((SECONDS - start)) seconds; logs are in build/log"
	say "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ]
}
