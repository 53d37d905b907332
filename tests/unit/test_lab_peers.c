/* test_lab_peers.c: other makers' servers are found or told of as missing, and started from files of the lab's own. */
#include "cli/lab.h"
#include "cli/lab_files.h"
#include "cli/lab_peers.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *folder;
static bool stopped;

bool lab_stopped(void)
{
	return stopped;
}

static void setup(void)
{
	folder = lab_folder_new(NULL);
	ck_assert_ptr_nonnull(folder);
}

static void teardown(void)
{
	lab_folder_free(folder);
}

static const struct lab_peer *peer(const char *name)
{
	for (size_t i = 0; i < lab_npeers; i++)
		if (strcmp(lab_peers[i].name, name) == 0)
			return &lab_peers[i];
	ck_abort_msg("no peer %s", name);
	return NULL;
}

static bool in(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Path of a file in the folder: until the next call. */
static const char *path(const char *name)
{
	static char text[512];

	snprintf(text, sizeof(text), "%s/%s", folder, name);
	return text;
}

/* A program in the folder that does what this script says. */
static void write_program(const char *name, const char *script)
{
	ck_assert_int_eq(lab_folder_write(folder, name, script, strlen(script)), 0);
	ck_assert_int_eq(chmod(path(name), 0700), 0);
}

static void slurp(const char *name, char *text, size_t n)
{
	FILE *f = fopen(path(name), "r");

	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, n - 1, f)] = 0;
	fclose(f);
}

START_TEST(no_two_subjects_have_one_name)
{
	static const char *const models[] = { "hybrid", "asgi", "tornado", "wsgi", "wsgi-sync" };
	const char *names[32];

	for (size_t i = 0; i < lab_npeers; i++) {
		ck_assert(!in(lab_peers[i].name, models, sizeof(models) / sizeof(models[0])));
		ck_assert(!in(lab_peers[i].name, names, i));
		names[i] = lab_peers[i].name;
	}
}
END_TEST

START_TEST(a_command_has_its_holes_filled)
{
	for (size_t i = 0; i < lab_npeers; i++) {
		char **argv = lab_peer_command(&lab_peers[i], "/some where/program", 43210, 2);
		bool port = false;

		ck_assert_ptr_nonnull(argv);
		ck_assert_str_eq(argv[0], "/some where/program");
		for (char **arg = argv; *arg; arg++) {
			ck_assert_msg(!strchr(*arg, '{'), "%s: %s", lab_peers[i].name, *arg);
			port = port || strstr(*arg, "43210");
		}
		ck_assert(port || strcmp(lab_peers[i].name, "nginx") == 0);
		free(argv);
	}
}
END_TEST

START_TEST(a_configuration_has_its_holes_filled_and_keeps_its_own_braces)
{
	char text[4096];

	ck_assert_int_eq(lab_peer_write(peer("nginx"), folder, 43210, 3), 0);
	slurp("nginx.conf", text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "listen 127.0.0.1:43210 "));
	ck_assert_ptr_nonnull(strstr(text, "worker_processes 3;"));
	ck_assert_ptr_nonnull(strstr(text, "location = / { return 200"));
	ck_assert_ptr_null(strstr(text, "{port}"));
}
END_TEST

START_TEST(a_script_arrives_as_it_is)
{
	struct slice file = lab_file("app_node.js");
	char text[8192];

	ck_assert_int_eq(lab_peer_write(peer("node"), folder, 43210, 1), 0);
	slurp("app_node.js", text, sizeof(text));
	ck_assert(slice_eq(slice_of(text), file));
}
END_TEST

START_TEST(a_folder_that_is_not_empty_is_not_written_over)
{
	ck_assert_int_eq(symlink("/dev/null", path("app_node.js")), 0);
	ck_assert_int_eq(lab_peer_write(peer("node"), folder, 43210, 1), -EEXIST);
}
END_TEST

START_TEST(sync_workers_are_as_many_as_their_makers_advise)
{
	ck_assert_uint_eq(lab_peer_processes(peer("flask-sync"), 2), 5);
	ck_assert_uint_eq(lab_peer_processes(peer("fastapi"), 2), 2);
}
END_TEST

START_TEST(what_a_peer_cannot_run_has_a_reason)
{
	ck_assert_ptr_nonnull(lab_peer_cannot(peer("flask-sync"), "idle"));
	ck_assert_ptr_null(lab_peer_cannot(peer("flask-sync"), "block50"));
	ck_assert_ptr_nonnull(lab_peer_cannot(peer("nginx"), "cpu"));
	ck_assert_ptr_null(lab_peer_cannot(peer("nginx"), "trivial"));
	ck_assert_ptr_null(lab_peer_cannot(peer("node"), "wrong-lane"));
}
END_TEST

/* What lab_peer_find says of a peer whose program is this script. */
static struct lab_found find(const char *name, const char *script)
{
	struct lab_found found;

	write_program("asked", script);
	ck_assert_int_eq(setenv("PYTHON", path("asked"), 1), 0);
	ck_assert_int_eq(lab_peer_find(peer(name), &found), 0);
	return found;
}

START_TEST(a_peer_that_tells_its_version_is_here)
{
	struct lab_found found = find("flask-sync",
		"#!/bin/sh\necho warning: something\necho flask 9.9, gunicorn 8.8\n");

	ck_assert_str_eq(found.program, path("asked"));
	ck_assert_str_eq(found.version, "flask 9.9, gunicorn 8.8");
	ck_assert_ptr_null(found.why);
	lab_found_fini(&found);
}
END_TEST

START_TEST(a_peer_whose_package_is_missing_says_which)
{
	struct lab_found found = find("flask-sync",
		"#!/bin/sh\necho 'the Python package flask is not \033[1m here' >&2; exit 1\n");

	ck_assert_ptr_null(found.program);
	ck_assert_ptr_null(found.version);
	ck_assert_str_eq(found.why, "the Python package flask is not ?[1m here");
	lab_found_fini(&found);
}
END_TEST

START_TEST(a_program_that_says_nothing_or_dies_is_not_here)
{
	struct lab_found found = find("fastapi", "#!/bin/sh\nkill -9 $$\n");

	ck_assert_ptr_null(found.program);
	ck_assert_ptr_nonnull(strstr(found.why, "does not tell which version of fastapi it is"));
	lab_found_fini(&found);
	ck_assert_int_eq(unlink(path("asked")), 0);
	found = find("fastapi", "#!/no/such/interpreter\n");
	ck_assert_ptr_null(found.program);
	ck_assert_ptr_nonnull(strstr(found.why, "cannot be run"));
	lab_found_fini(&found);
}
END_TEST

START_TEST(a_stopped_lab_waits_for_no_version)
{
	struct lab_found found;

	write_program("python", "#!/bin/sh\nsleep 1000\n");
	setenv("PYTHON", path("python"), 1);
	stopped = true;
	ck_assert_int_eq(lab_peer_find(peer("fastapi"), &found), -EINTR);
	ck_assert_ptr_null(found.program);
	stopped = false;
}
END_TEST

START_TEST(nothing_that_a_program_started_outlives_its_answer)
{
	struct lab_found found;
	struct pollfd end;
	int lives[2];

	ck_assert_int_eq(pipe2(lives, O_CLOEXEC), 0);
	ck_assert_int_ge(dup2(lives[1], 9), 0);
	close(lives[1]);
	write_program("python", "#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho python 3\n");
	setenv("PYTHON", path("python"), 1);
	ck_assert_int_eq(lab_peer_find(peer("fastapi"), &found), 0);
	close(9);
	ck_assert_str_eq(found.version, "python 3");
	end = (struct pollfd){ lives[0], POLLIN, 0 };
	ck_assert_int_eq(poll(&end, 1, 50000), 1);
	lab_found_fini(&found);
}
END_TEST

START_TEST(peers_of_python_share_their_program)
{
	ck_assert(lab_peers_share(peer("fastapi"), peer("tornado-py")));
	ck_assert(lab_peers_share(peer("node"), peer("node")));
	ck_assert(!lab_peers_share(peer("node"), peer("nginx")));
	ck_assert(!lab_peers_share(peer("fastapi"), peer("nginx")));
}
END_TEST

START_TEST(a_program_that_is_in_no_folder_is_missed)
{
	struct lab_found found;

	ck_assert_int_eq(setenv("PYTHON", "no-such-python-anywhere", 1), 0);
	ck_assert_int_eq(lab_peer_find(peer("tornado-py"), &found), 0);
	ck_assert_ptr_null(found.program);
	ck_assert_str_eq(found.why, "there is no program no-such-python-anywhere in PATH");
	lab_found_fini(&found);
}
END_TEST

START_TEST(a_program_of_the_folder_we_are_in_is_not_found_by_its_name)
{
	struct lab_found found;

	write_program("node", "#!/bin/sh\necho node 99\n");
	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_int_eq(setenv("PATH", ".::relative", 1), 0);
	ck_assert_int_eq(lab_peer_find(peer("node"), &found), 0);
	ck_assert(!found.version || strcmp(found.version, "node 99") != 0);
	lab_found_fini(&found);
	ck_assert_int_eq(setenv("PATH", folder, 1), 0);
	ck_assert_int_eq(lab_peer_find(peer("node"), &found), 0);
	ck_assert_str_eq(found.version, "node 99");
	lab_found_fini(&found);
}
END_TEST

START_TEST(a_folder_goes_with_all_that_is_in_it_and_nothing_else)
{
	char *other = lab_folder_new(NULL);
	char link[512], kept[512], name[512];

	ck_assert_ptr_nonnull(other);
	ck_assert_int_eq(lab_folder_write(other, "kept", "x", 1), 0);
	snprintf(kept, sizeof(kept), "%s/kept", other);
	ck_assert_int_eq(mkdir(path("deep"), 0700), 0);
	ck_assert_int_eq(mkdir(path("deep/deeper"), 0700), 0);
	snprintf(link, sizeof(link), "%s", path("deep/deeper/link"));
	ck_assert_int_eq(symlink(other, link), 0);
	snprintf(name, sizeof(name), "%s", folder);
	lab_folder_free(folder);
	folder = NULL;
	ck_assert_int_ne(access(name, F_OK), 0);
	ck_assert_int_eq(access(kept, F_OK), 0);
	lab_folder_free(other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab peers");
	TCase *c = tcase_create("lab peers");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, no_two_subjects_have_one_name);
	tcase_add_test(c, a_command_has_its_holes_filled);
	tcase_add_test(c, a_configuration_has_its_holes_filled_and_keeps_its_own_braces);
	tcase_add_test(c, a_script_arrives_as_it_is);
	tcase_add_test(c, a_folder_that_is_not_empty_is_not_written_over);
	tcase_add_test(c, sync_workers_are_as_many_as_their_makers_advise);
	tcase_add_test(c, what_a_peer_cannot_run_has_a_reason);
	tcase_add_test(c, a_peer_that_tells_its_version_is_here);
	tcase_add_test(c, a_peer_whose_package_is_missing_says_which);
	tcase_add_test(c, a_program_that_says_nothing_or_dies_is_not_here);
	tcase_add_test(c, a_stopped_lab_waits_for_no_version);
	tcase_add_test(c, nothing_that_a_program_started_outlives_its_answer);
	tcase_add_test(c, peers_of_python_share_their_program);
	tcase_add_test(c, a_program_that_is_in_no_folder_is_missed);
	tcase_add_test(c, a_program_of_the_folder_we_are_in_is_not_found_by_its_name);
	tcase_add_test(c, a_folder_goes_with_all_that_is_in_it_and_nothing_else);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
