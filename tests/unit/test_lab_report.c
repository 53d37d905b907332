/* test_lab_report.c: the report's page holds what it was given, as data only, and its file is whole or not there. */
#include "cli/lab_files.h"
#include "cli/lab_report.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA "<script type=\"application/json\" id=\"data\">"

static char *folder;
static struct buf page;

static void setup(void)
{
	folder = lab_folder_new(NULL);
	ck_assert_ptr_nonnull(folder);
}

static void teardown(void)
{
	lab_folder_free(folder);
	buf_fini(&page);
}

/* Path of a file in the folder: until the call after the next. */
static const char *path(const char *name)
{
	static char text[2][512];
	static unsigned turn;
	char *to = text[turn++ % 2];

	snprintf(to, sizeof(text[0]), "%s/%s", folder, name);
	return to;
}

static unsigned files_in_folder(void)
{
	DIR *d = opendir(folder);
	unsigned n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static json_t *report(const char *command)
{
	json_t *r = json_pack("{si ss}", "offloop_lab", 1, "command", command);

	ck_assert_ptr_nonnull(r);
	return r;
}

/* What the page has between its data's tags, NUL-terminated in the page. */
static char *data_of_page(const char *command)
{
	json_t *r = report(command);
	char *start, *end;

	ck_assert_int_eq(lab_report_page(r, &page), 0);
	ck_assert_int_eq(buf_append(&page, "", 1), 0);
	json_decref(r);
	start = strstr(page.p, DATA);
	ck_assert_ptr_nonnull(start);
	start += strlen(DATA);
	end = strstr(start, "</script>");
	ck_assert_ptr_nonnull(end);
	*end = 0;
	return start;
}

START_TEST(what_could_end_or_change_a_script_comes_as_escapes)
{
	static const char hostile[] = "</script><!--<script>&amp; \xe2\x80\xa8 \xe2\x80\xa9 {{plots.js}} \xc3\xa9 \\ "
		"\" ]]>";
	char *data = data_of_page(hostile);
	json_t *r = json_loads(data, 0, NULL);

	ck_assert_ptr_nonnull(r);
	ck_assert_str_eq(json_string_value(json_object_get(r, "command")), hostile);
	json_decref(r);
	ck_assert_ptr_null(strpbrk(data, "<>&"));
	ck_assert_ptr_nonnull(strstr(data, "{{plots.js}}"));
	for (const char *p = data; *p; p++)
		ck_assert(*p > 0 && *p < 127);
}
END_TEST

START_TEST(every_hole_of_the_template_is_filled)
{
	static const char *const files[] = { "report.css", "report.js", "plots.js" };
	char *rest;

	rest = data_of_page("x");
	ck_assert_ptr_null(memmem(page.p, (size_t)(rest - page.p), "{{report", 8));
	ck_assert_ptr_null(strstr(rest + strlen(rest) + 1, "{{plots.js}}"));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct slice file = lab_file(files[i]);

		ck_assert(file.n > 0);
		ck_assert_ptr_nonnull(memmem(page.p, page.n, file.p, file.n));
		/* Nor may a file end the element it is put into. */
		ck_assert_ptr_null(memmem(file.p, file.n, "</", 2));
		ck_assert_ptr_null(memmem(file.p, file.n, "<!--", 4));
	}
}
END_TEST

START_TEST(the_page_names_no_address_to_ask)
{
	struct slice html = lab_file("report.html");

	ck_assert_ptr_null(memmem(html.p, html.n, "src=", 4));
	ck_assert_ptr_null(memmem(html.p, html.n, "http:", 5));
	ck_assert_ptr_null(memmem(html.p, html.n, "https:", 6));
	ck_assert_ptr_nonnull(memmem(html.p, html.n, "default-src 'none'", 18));
}
END_TEST

START_TEST(a_report_replaces_the_one_before_and_leaves_nothing_beside_it)
{
	json_t *one = report("the first"), *two = report("the second");
	struct stat st;
	char text[200000];
	FILE *f;

	umask(022);
	ck_assert_int_eq(lab_report_write(one, path("r.html")), 0);
	ck_assert_int_eq(lab_report_write(two, path("r.html")), 0);
	ck_assert_uint_eq(files_in_folder(), 1);
	ck_assert_int_eq(stat(path("r.html"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0644);
	f = fopen(path("r.html"), "r");
	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	ck_assert_ptr_nonnull(strstr(text, "the second"));
	ck_assert_ptr_null(strstr(text, "the first"));
	json_decref(one);
	json_decref(two);
}
END_TEST

START_TEST(a_link_stays_and_its_target_is_replaced)
{
	json_t *r = report("x");
	struct stat st;

	ck_assert_int_eq(lab_folder_write(folder, "target", "old", 3), 0);
	ck_assert_int_eq(symlink("target", path("link")), 0);
	ck_assert_int_eq(lab_report_write(r, path("link")), 0);
	ck_assert_int_eq(lstat(path("link"), &st), 0);
	ck_assert(S_ISLNK(st.st_mode));
	ck_assert_int_eq(stat(path("target"), &st), 0);
	ck_assert(st.st_size > 3);
	json_decref(r);
}
END_TEST

START_TEST(what_cannot_be_written_leaves_all_as_it_was)
{
	json_t *r = report("x");
	const struct rlimit little = { 1000, 1000 };
	struct stat st;

	ck_assert_int_eq(lab_report_write(r, path("no/such/folder.html")), -ENOENT);
	ck_assert_int_eq(lab_report_write(r, folder), -EISDIR);
	ck_assert_int_eq(mkfifo(path("pipe"), 0600), 0);
	ck_assert_int_eq(lab_report_write(r, path("pipe")), -EEXIST);
	ck_assert_int_eq(symlink("nowhere", path("link")), 0);
	ck_assert_int_eq(lab_report_write(r, path("link")), -ENOENT);
	ck_assert_int_eq(lab_folder_write(folder, "old", "old", 3), 0);
	/* A disk that is full after a thousand bytes. */
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
	ck_assert_int_eq(lab_report_write(r, path("old")), -EFBIG);
	ck_assert_int_eq(stat(path("old"), &st), 0);
	ck_assert_int_eq(st.st_size, 3);
	ck_assert_uint_eq(files_in_folder(), 3);
	json_decref(r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab report");
	TCase *c = tcase_create("lab report");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, what_could_end_or_change_a_script_comes_as_escapes);
	tcase_add_test(c, every_hole_of_the_template_is_filled);
	tcase_add_test(c, the_page_names_no_address_to_ask);
	tcase_add_test(c, a_report_replaces_the_one_before_and_leaves_nothing_beside_it);
	tcase_add_test(c, a_link_stays_and_its_target_is_replaced);
	tcase_add_test(c, what_cannot_be_written_leaves_all_as_it_was);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
