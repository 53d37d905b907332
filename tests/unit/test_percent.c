/* test_percent.c: percent-decoding and dot segments. */
#include "../fuzz/fuzz_percent.c"
#include <check.h>

static void decodes(const char *text, bool plus, struct slice expected)
{
	char out[64];
	ssize_t n = percent_decode(out, slice_of(text), plus);

	ck_assert_msg(n >= 0, "%s", text);
	ck_assert_msg(slice_eq((struct slice){ out, (size_t)n }, expected), "%s: %.*s", text, (int)n, out);
}

static void refused(const char *text)
{
	char out[64];

	ck_assert_msg(percent_decode(out, slice_of(text), false) == -1, "%s", text);
}

START_TEST(escapes_are_decoded_in_either_case)
{
	decodes("", false, SLICE(""));
	decodes("plain", false, SLICE("plain"));
	decodes("%41%6a%6Ab", false, SLICE("Ajjb"));
	decodes("na%C3%aFve", false, SLICE("na\xc3\xafve"));
	decodes("%2F%2f", false, SLICE("//"));
	decodes("%25%32%35", false, SLICE("%25"));
	decodes("%00", false, SLICE("\0"));
}
END_TEST

START_TEST(a_plus_is_a_space_only_when_asked)
{
	decodes("a+b%2B", true, SLICE("a b+"));
	decodes("a+b%2B", false, SLICE("a+b+"));
}
END_TEST

START_TEST(malformed_escapes_are_refused)
{
	static const char *const bad[] = { "%", "%4", "a%", "a%4", "%%41", "%4g", "%g4", "%:0", "%/0", "%@0", "%`0",
		"%G0", "% 41", "%-1", "%0x" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(bad[i]);
}
END_TEST

static void becomes(const char *path, const char *expected)
{
	char p[128];
	ssize_t n;

	memcpy(p, path, strlen(path));
	n = path_normalize(p, strlen(path));
	ck_assert_msg(n == (ssize_t)strlen(expected) && memcmp(p, expected, (size_t)n) == 0, "%s: %.*s", path,
		(int)(n < 0 ? 0 : n), p);
}

static void no_path(const char *path)
{
	char p[128];

	memcpy(p, path, strlen(path) + 1);
	ck_assert_msg(path_normalize(p, strlen(path)) == -1, "%s", path);
}

START_TEST(dot_segments_are_removed_as_in_rfc_3986)
{
	becomes("/", "/");
	becomes("/a/b/c/./../../g", "/a/g");
	becomes("/.", "/");
	becomes("/./", "/");
	becomes("/a/.", "/a/");
	becomes("/a/..", "/");
	becomes("/a/../", "/");
	becomes("/a/b/..", "/a/");
	becomes("/./a", "/a");
	becomes("/a/./b/./c", "/a/b/c");
}
END_TEST

START_TEST(dots_may_be_written_as_escapes)
{
	becomes("/a/%2e", "/a/");
	becomes("/a/%2E%2e/b", "/b");
	becomes("/a/.%2e/b", "/b");
	becomes("/a/%2e./b", "/b");
	becomes("/a/%252e%252e/b", "/a/%252e%252e/b");
}
END_TEST

START_TEST(other_dots_stay)
{
	becomes("/...", "/...");
	becomes("/.a/b.", "/.a/b.");
	becomes("/..a", "/..a");
	becomes("/a../b", "/a../b");
	becomes("/.well-known/x", "/.well-known/x");
}
END_TEST

START_TEST(an_escaped_slash_separates_nothing)
{
	becomes("/a%2fb", "/a%2fb");
	becomes("/a%2f..", "/a%2f..");
	becomes("/a/..%2fb", "/a/..%2fb");
}
END_TEST

START_TEST(an_empty_segment_is_a_segment)
{
	becomes("//", "//");
	becomes("//a", "//a");
	becomes("/a//", "/a//");
	becomes("/a//../b", "/a/b");
	becomes("//..", "/");
	becomes("/a/..//b", "//b");
}
END_TEST

START_TEST(nothing_leads_above_the_root)
{
	no_path("/..");
	no_path("/../");
	no_path("/../a");
	no_path("/a/../..");
	no_path("/a/../../b");
	no_path("/./..");
	no_path("/%2e%2E");
}
END_TEST

START_TEST(what_is_no_path_is_refused)
{
	no_path("");
	no_path("a");
	no_path("*");
	no_path("a/../b");
	no_path("/%");
	no_path("/a%2");
	no_path("/%zz/b");
	no_path("/a%00b");
	no_path("/%00");
	no_path("/a/%/..");
}
END_TEST

START_TEST(random_bytes_fare_as_with_the_plain_code)
{
	static const char alphabet[] = "//..%%22eEfF0a+";
	uint64_t x = 88172645463325252;
	uint8_t text[24];

	for (int i = 0; i < 300000; i++) {
		size_t n = (size_t)(i % 24) + 1;

		text[0] = '/';
		for (size_t k = 1; k < n; k++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			text[k] = (uint8_t)alphabet[(x >> 32) % (sizeof(alphabet) - 1)];
		}
		LLVMFuzzerTestOneInput(text, n);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("percent");
	TCase *c = tcase_create("percent");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(c, 60);
	tcase_add_test(c, escapes_are_decoded_in_either_case);
	tcase_add_test(c, a_plus_is_a_space_only_when_asked);
	tcase_add_test(c, malformed_escapes_are_refused);
	tcase_add_test(c, dot_segments_are_removed_as_in_rfc_3986);
	tcase_add_test(c, dots_may_be_written_as_escapes);
	tcase_add_test(c, other_dots_stay);
	tcase_add_test(c, an_escaped_slash_separates_nothing);
	tcase_add_test(c, an_empty_segment_is_a_segment);
	tcase_add_test(c, nothing_leads_above_the_root);
	tcase_add_test(c, what_is_no_path_is_refused);
	tcase_add_test(c, random_bytes_fare_as_with_the_plain_code);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
