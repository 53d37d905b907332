/* test_metrics.c: counting, and the exact text it is shown as. */
#include "metrics.h"
#include "base/clock.h"
#include "loop.h"
#include "offloop.h"
#include "pool.h"
#include "watch.h"

#include <check.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>

#define US NS_PER_US
#define MS NS_PER_MS

static struct buf text;

static void set_up(void)
{
	text = (struct buf){ 0 };
}

static void tear_down(void)
{
	buf_fini(&text);
}

/* What has been written, as a string. */
static const char *written(void)
{
	ck_assert_int_eq(buf_append(&text, "", 1), 0);
	text.n--;
	return text.p + text.off;
}

static void expect(const char *wanted)
{
	ck_assert_str_eq(written(), wanted);
}

START_TEST(a_family_has_help_and_type)
{
	ck_assert_int_eq(metrics_text_family(&text, "a_total", METRIC_TYPE_COUNTER, "What a is."), 0);
	ck_assert_int_eq(metrics_text_family(&text, "b_seconds", METRIC_TYPE_HISTOGRAM, "What b is."), 0);
	ck_assert_int_eq(metrics_text_family(&text, "c", METRIC_TYPE_GAUGE, "What c is."), 0);
	expect("# HELP a_total What a is.\n# TYPE a_total counter\n"
		"# HELP b_seconds What b is.\n# TYPE b_seconds histogram\n"
		"# HELP c What c is.\n# TYPE c gauge\n");
}
END_TEST

START_TEST(labels_are_listed_and_escaped)
{
	const char *const labels[] = { "route", "/a\"b\\c\nd", "lane", "", NULL };

	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 1), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", labels, 2), 0);
	expect("x 1\nx{route=\"/a\\\"b\\\\c\\nd\",lane=\"\"} 2\n");
}
END_TEST

START_TEST(numbers_are_the_shortest_that_read_back)
{
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 0), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 0.1), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 1.0 / 3), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 1e21), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, -2.5), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 1790000000.25), 0);
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 9007199254740991.0), 0);
	expect("x 0\nx 0.1\nx 0.3333333333333333\nx 1e+21\nx -2.5\nx 1790000000.25\nx 9007199254740991\n");
}
END_TEST

START_TEST(the_locale_does_not_change_the_decimal_point)
{
	if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "de_DE.utf8") &&
		!setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
		return;         /* not installed: the other tests have shown the point in the C locale */
	ck_assert_int_eq(metrics_text_sample(&text, "x", NULL, 2.5), 0);
	setlocale(LC_NUMERIC, "C");
	expect("x 2.5\n");
}
END_TEST

START_TEST(buckets_are_shown_cumulated_and_end_in_inf)
{
	static const uint64_t bounds[] = { 500 * US, 1 * MS, 2500 * MS, NEVER };
	static const uint64_t counts[] = { 1, 0, 3, 2 };
	const char *const labels[] = { "route", "/x", NULL };

	ck_assert_int_eq(metrics_text_hist(&text, "t_seconds", labels, bounds, counts, 4, 1500 * MS), 0);
	expect("t_seconds_bucket{route=\"/x\",le=\"0.0005\"} 1\n"
		"t_seconds_bucket{route=\"/x\",le=\"0.001\"} 1\n"
		"t_seconds_bucket{route=\"/x\",le=\"2.5\"} 4\n"
		"t_seconds_bucket{route=\"/x\",le=\"+Inf\"} 6\n"
		"t_seconds_sum{route=\"/x\"} 1.5\n"
		"t_seconds_count{route=\"/x\"} 6\n");
}
END_TEST

START_TEST(a_histogram_without_labels_has_le_alone)
{
	static const uint64_t bounds[] = { 1000 * MS, NEVER }, counts[] = { 0, 0 };

	ck_assert_int_eq(metrics_text_hist(&text, "t", NULL, bounds, counts, 2, 0), 0);
	expect("t_bucket{le=\"1\"} 0\nt_bucket{le=\"+Inf\"} 0\nt_sum 0\nt_count 0\n");
}
END_TEST

START_TEST(the_bounds_ascend_and_end_in_never)
{
	for (int i = 1; i < METRIC_BUCKETS; i++)
		ck_assert_uint_lt(metric_bucket_ns[i - 1], metric_bucket_ns[i]);
	ck_assert_uint_eq(metric_bucket_ns[METRIC_BUCKETS - 1], NEVER);
}
END_TEST

static void check_close(const uint64_t *bounds, unsigned n)
{
	for (unsigned i = 1; i < n && bounds[i] != NEVER; i++)
		if (bounds[i - 1] >= NS_PER_MS)
			ck_assert_uint_le(2 * bounds[i], 5 * bounds[i - 1]);
	ck_assert_uint_ge(bounds[n - 2], 5 * NS_PER_S);
}

START_TEST(a_time_over_a_millisecond_is_known_to_two_and_a_half_times)
{
	check_close(metric_bucket_ns, METRIC_BUCKETS);
	check_close(pool_bucket_ns, POOL_BUCKETS);
	check_close(watch_bucket_ns, WATCH_BUCKETS);
	check_close(loop_lag_ns, LOOP_LAGS);
}
END_TEST

static const char *template_of(void *arg, uint32_t route)
{
	(void)arg;
	ck_assert_uint_lt(route, 2);
	return route == 0 ? "/a" : "/b/{id:int}";
}

START_TEST(counters_are_summed_and_gauges_told_apart_by_loop)
{
	struct metrics_loop m[2];
	const struct metrics_loop *const loops[] = { &m[0], &m[1] };
	const char *all;

	ck_assert_int_eq(metrics_loop_init(&m[0], 2), 0);
	ck_assert_int_eq(metrics_loop_init(&m[1], 2), 0);
	metric_add(&m[0], METRIC_REQUESTS, 3);
	metric_add(&m[1], METRIC_REQUESTS, 4);
	metric_add(&m[0], METRIC_CONNECTIONS, 5);
	metric_add(&m[0], METRIC_CONNECTIONS, -2);
	metric_set(&m[1], METRIC_CONNECTIONS, 9);
	metric_set(&m[1], METRIC_BYTES_OUT, UINT64_C(12345678901234567890));
	ck_assert_int_eq(metrics_text_loops(&text, loops, 2, template_of, NULL), 0);
	all = written();
	ck_assert_ptr_nonnull(strstr(all, "\n# TYPE offloop_requests_total counter\noffloop_requests_total 7\n"));
	ck_assert_ptr_nonnull(strstr(all,
		"\noffloop_loop_connections{loop=\"0\"} 3\noffloop_loop_connections{loop=\"1\"} 9\n"));
	ck_assert_ptr_nonnull(strstr(all, "\noffloop_sent_bytes_total 12345678901234567890\n"));
	metrics_loop_fini(&m[0]);
	metrics_loop_fini(&m[1]);
}
END_TEST

/* Where the text of request durations begins. */
static const char *durations(void)
{
	const char *at = strstr(written(), "# HELP http_server_request_duration_seconds ");

	ck_assert_ptr_nonnull(at);
	at = strchr(at, '\n') + 1;
	return strchr(at, '\n') + 1;
}

START_TEST(durations_are_summed_over_loops_by_route_method_and_status)
{
	struct metrics_loop m[2];
	const struct metrics_loop *const loops[] = { &m[0], &m[1] };
	const char *all;

	ck_assert_int_eq(metrics_loop_init(&m[0], 2), 0);
	ck_assert_int_eq(metrics_loop_init(&m[1], 2), 0);
	metrics_request(&m[0], 1, OL_METHOD_GET, 200, true, 100 * US);
	metrics_request(&m[1], 1, OL_METHOD_GET, 200, true, 100 * US + 1);
	metrics_request(&m[1], 1, OL_METHOD_GET, 503, true, 20000 * MS);
	metrics_request(&m[0], 7, 0, 404, true, 0);
	ck_assert_uint_eq(metrics_route_requests(loops, 2, 0), 0);
	ck_assert_uint_eq(metrics_route_requests(loops, 2, 1), 3);
	ck_assert_uint_eq(metrics_route_requests(loops, 2, 2), 1);
	ck_assert_int_eq(metrics_text_loops(&text, loops, 2, template_of, NULL), 0);
	all = durations();
#define AT "http_server_request_duration_seconds_"
#define B200 "{route=\"/b/{id:int}\",method=\"GET\",status=\"200\",lane=\"sync\""
#define B503 "{route=\"/b/{id:int}\",method=\"GET\",status=\"503\",lane=\"sync\""
	ck_assert_ptr_eq(strstr(all, AT "bucket" B200 ",le=\"0.0001\"} 1\n" AT "bucket" B200 ",le=\"0.00025\"} 2\n"),
		all);
	ck_assert_ptr_nonnull(strstr(all,
		AT "bucket" B200 ",le=\"10\"} 2\n" AT "bucket" B200 ",le=\"+Inf\"} 2\n" AT "sum" B200
		"} 0.000200001\n" AT "count" B200 "} 2\n"));
	ck_assert_ptr_nonnull(strstr(all,
		AT "bucket" B503 ",le=\"10\"} 0\n" AT "bucket" B503 ",le=\"+Inf\"} 1\n" AT "sum" B503
		"} 20\n" AT "count" B503 "} 1\n"));
	ck_assert_ptr_nonnull(strstr(all,
		AT "count{route=\"none\",method=\"_OTHER\",status=\"404\",lane=\"none\"} 1\n"));
	/* each of the three once */
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(all = strstr(all + 1, AT "count{"));
	ck_assert_ptr_null(strstr(all + 1, AT "count{"));
	metrics_loop_fini(&m[0]);
	metrics_loop_fini(&m[1]);
}
END_TEST

/* What ran before it moved, and what after. */
START_TEST(a_route_that_moves_has_a_sample_for_each_lane)
{
	struct metrics_loop m[2];
	const struct metrics_loop *const loops[] = { &m[0], &m[1] };
	const char *all;

	ck_assert_int_eq(metrics_loop_init(&m[0], 2), 0);
	ck_assert_int_eq(metrics_loop_init(&m[1], 2), 0);
	metrics_request(&m[0], 0, OL_METHOD_GET, 200, true, US);
	metrics_request(&m[1], 0, OL_METHOD_GET, 200, false, US);
	metrics_request(&m[1], 0, OL_METHOD_GET, 200, true, US);
	ck_assert_int_eq(metrics_text_loops(&text, loops, 2, template_of, NULL), 0);
	all = durations();
	ck_assert_ptr_nonnull(strstr(all, AT "count{route=\"/a\",method=\"GET\",status=\"200\",lane=\"sync\"} 2\n"));
	ck_assert_ptr_nonnull(strstr(all, AT "count{route=\"/a\",method=\"GET\",status=\"200\",lane=\"async\"} 1\n"));
	metrics_loop_fini(&m[0]);
	metrics_loop_fini(&m[1]);
}
END_TEST

#define WRITES 20000

static void *write_many(void *arg)
{
	for (int i = 0; i < WRITES; i++) {
		metrics_request(arg, (uint32_t)i % 3, OL_METHOD_GET + (unsigned)i % 3, 200 + i % 7, i % 2,
			(uint64_t)i * US);
		metric_add(arg, METRIC_REQUESTS, 1);
	}
	return NULL;
}

START_TEST(a_reader_beside_the_writer_sees_sums_that_only_grow)
{
	struct metrics_loop m;
	const struct metrics_loop *const loops[] = { &m };
	uint64_t last = 0, now;
	pthread_t writer;

	ck_assert_int_eq(metrics_loop_init(&m, 2), 0);
	ck_assert_int_eq(pthread_create(&writer, NULL, write_many, &m), 0);
	do {
		now = 0;
		for (uint32_t route = 0; route < 3; route++)
			now += metrics_route_requests(loops, 1, route);
		ck_assert_uint_ge(now, last);
		last = now;
		buf_consume(&text, text.n);
		ck_assert_int_eq(metrics_text_loops(&text, loops, 1, template_of, NULL), 0);
	} while (now < WRITES);
	pthread_join(writer, NULL);
	ck_assert_uint_eq(now, WRITES);
	metrics_loop_fini(&m);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *t = tcase_create("text"), *loops = tcase_create("loops");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, a_family_has_help_and_type);
	tcase_add_test(t, a_time_over_a_millisecond_is_known_to_two_and_a_half_times);
	tcase_add_test(t, labels_are_listed_and_escaped);
	tcase_add_test(t, numbers_are_the_shortest_that_read_back);
	tcase_add_test(t, the_locale_does_not_change_the_decimal_point);
	tcase_add_test(t, buckets_are_shown_cumulated_and_end_in_inf);
	tcase_add_test(t, a_histogram_without_labels_has_le_alone);
	tcase_add_checked_fixture(loops, set_up, tear_down);
	tcase_set_timeout(loops, 60);
	tcase_add_test(loops, the_bounds_ascend_and_end_in_never);
	tcase_add_test(loops, counters_are_summed_and_gauges_told_apart_by_loop);
	tcase_add_test(loops, durations_are_summed_over_loops_by_route_method_and_status);
	tcase_add_test(loops, a_route_that_moves_has_a_sample_for_each_lane);
	tcase_add_test(loops, a_reader_beside_the_writer_sees_sums_that_only_grow);
	suite_add_tcase(suite, t);
	suite_add_tcase(suite, loops);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
