/*
 * test_log.c: the log, read from the other end of a pipe.
 *
 * Most tests queue lines, free the log, and then read the pipe to its end: the end comes only when the writer has
 * closed its descriptor, so nothing here waits by sleeping.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/log_here.h"
#include "base/log_line.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static int ends[2];             /* [0] is read by the test, [1] written by the log */
static struct log *l;
static struct buf output;       /* what came out, and a NUL */

static struct log *log_to(int fd, enum log_format format, size_t capacity)
{
	struct log_conf conf = { .fd = fd, .format = format, .level = LOG_INFO, .capacity = capacity };

	return log_new(&conf);
}

static void open_log(enum log_format format, size_t capacity)
{
	ck_assert_int_eq(pipe(ends), 0);
	l = log_to(ends[1], format, capacity);
	ck_assert_ptr_nonnull(l);
}

/* Reads to the end of the stream, which comes when nobody can write to it any more. */
static const char *read_to_end(void)
{
	ssize_t n;

	close(ends[1]);
	buf_fini(&output);
	while ((n = read(ends[0], buf_reserve(&output, 65536), 65536)) > 0)
		buf_added(&output, (size_t)n);
	ck_assert_int_eq(n, 0);
	close(ends[0]);
	*buf_reserve(&output, 1) = '\0';
	return output.p;
}

static const char *finish(void)
{
	log_free(l, PATIENCE_MS);
	return read_to_end();
}

static uint64_t count(char c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < output.n; i++)
		n += output.p[i] == c;
	return n;
}

/* What follows the time of a line of text. */
static const char *after_time(const char *line)
{
	ck_assert_uint_gt(strlen(line), 25);
	ck_assert_int_eq(line[10], 'T');
	ck_assert_int_eq(line[23], 'Z');
	ck_assert_int_eq(line[24], ' ');
	return line + 25;
}

static const char *text_of(struct slice msg, const struct log_field *fields, size_t n)
{
	open_log(LOG_TEXT, 0);
	log_line(l, LOG_INFO, msg, fields, n);
	return after_time(finish());
}

/* ---- form -------------------------------------------------------------------------------------------------------- */

START_TEST(a_line_of_text_is_time_level_message_and_fields)
{
	const struct log_field fields[] = { LOG_FIELD_STR("route", SLICE("/x/{id}")),
		LOG_FIELD_STR("agent", SLICE("a b")), LOG_FIELD_STR("query", SLICE("q=1")),
		LOG_FIELD_STR("none", SLICE("")), LOG_FIELD_STR("null", { 0 }),
		LOG_FIELD_INT("status", 200), LOG_FIELD_US("took", 12345) };

	ck_assert_str_eq(text_of(SLICE("GET \"/x/7\""), fields, sizeof(fields) / sizeof(*fields)),
		"info  GET \"/x/7\" route=/x/{id} agent=\"a b\" query=\"q=1\" none=\"\" null=\"\" status=200 "
		"took=12.345ms\n");
}
END_TEST

START_TEST(a_line_of_json_is_one_object)
{
	const struct log_field fields[] = { LOG_FIELD_STR("route", SLICE("/x \"y\" \\")), LOG_FIELD_INT("status", 200),
		LOG_FIELD_US("took", 12345) };
	const char *line;

	open_log(LOG_JSON, 0);
	log_line(l, LOG_ERROR, SLICE("tab\tnewline\nbell\a"), fields, 3);
	line = finish();
	ck_assert_int_eq(memcmp(line, "{\"time\":\"", 9), 0);
	ck_assert_str_eq(line + 9 + 24, "\",\"level\":\"error\",\"msg\":\"tab\\tnewline\\nbell\\u0007\","
		"\"route\":\"/x \\\"y\\\" \\\\\",\"status\":200,\"took\":0.012345}\n");
}
END_TEST

START_TEST(a_field_of_the_logs_own_ends_each_line_however_long)
{
	const struct log_field status = LOG_FIELD_INT("status", 200), own = LOG_FIELD_INT("worker", INT64_MIN);
	const char *text_end = " worker=-9223372036854775808", *json_end = ",\"worker\":-9223372036854775808";
	static char msg[LOG_LINE_MAX + 100];
	struct log_text o;

	memset(msg, 'x', sizeof(msg));
	for (size_t n = 0; n < sizeof(msg); n++) {
		struct slice whole = { msg, n };
		const char *line = o.bytes;
		json_t *object;
		size_t len;

		len = log_compose(&o, false, LOG_INFO, whole, &status, 1, &own);
		ck_assert_uint_le(len, LOG_LINE_MAX);
		ck_assert_ptr_nonnull(memmem(line, len, text_end, strlen(text_end)));
		ck_assert_int_eq(line[len - 1], '\n');
		len = log_compose(&o, true, LOG_INFO, whole, &status, 1, &own);
		ck_assert_uint_le(len, LOG_LINE_MAX);
		ck_assert_ptr_nonnull(memmem(line, len, json_end, strlen(json_end)));
		ck_assert_ptr_nonnull(object = json_loadb(line, len, 0, NULL));
		json_decref(object);
	}
}
END_TEST

/* time(2) may be a tick behind the clock that stamps a line. */
static time_t now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec;
}

START_TEST(the_time_is_that_of_the_call)
{
	time_t before = now_s(), after, said;
	struct tm tm = { 0 };

	text_of(SLICE("x"), NULL, 0);
	after = now_s();
	ck_assert_int_eq(sscanf(output.p, "%d-%d-%dT%d:%d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
		&tm.tm_min, &tm.tm_sec), 6);
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	said = timegm(&tm);
	ck_assert(said >= before && said <= after);
}
END_TEST

START_TEST(numbers_are_exact_at_their_limits)
{
	const struct log_field fields[] = { LOG_FIELD_INT("a", INT64_MIN), LOG_FIELD_INT("b", INT64_MAX),
		LOG_FIELD_INT("c", 0), LOG_FIELD_US("d", 0), LOG_FIELD_US("e", -1), LOG_FIELD_US("f", INT64_MIN) };

	ck_assert_str_eq(text_of(SLICE("n"), fields, 6), "info  n a=-9223372036854775808 "
		"b=9223372036854775807 c=0 d=0.000ms e=-0.001ms f=-9223372036854775.808ms\n");
}
END_TEST

START_TEST(lines_above_the_level_are_not_written_nor_counted)
{
	open_log(LOG_TEXT, 0);
	log_line(l, LOG_DEBUG, SLICE("no"), NULL, 0);
	log_printf(l, LOG_DEBUG, "no %d", 1);
	log_printf(l, LOG_WARN, "yes %d", 2);
	ck_assert_uint_eq(log_dropped(l), 0);
	ck_assert_str_eq(after_time(finish()), "warn  yes 2\n");
}
END_TEST

/* ---- escapes ----------------------------------------------------------------------------------------------------- */

START_TEST(nothing_in_a_message_can_begin_a_line_or_reach_the_terminal)
{
	static const struct {
		struct slice in;
		const char *out;
	} cases[] = {
		{ { "a\nb\rc\td", 7 }, "a\\nb\\rc\\td" },
		{ { "nul\0nul", 7 }, "nul\\u0000nul" },
		{ { "\x1b[31m\x7f", 6 }, "\\u001b[31m\\u007f" },
		{ { "back\\n", 6 }, "back\\\\n" },
		{ { "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8d\xb0", 14 }, "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8d\xb0" },
		{ { "\xc2\x85|\xc2\x9b", 5 }, "\\u0085|\\u009b" },
		{ { "\xe2\x80\xa8|\xe2\x80\xa9|\xe2\x80\xae|\xe2\x81\xa6", 15 }, "\\u2028|\\u2029|\\u202e|\\u2066" },
		{ { "\xff|\xc3|\x80", 5 }, "\\xff|\\xc3|\\x80" },
		{ { "\xc0\xaf|\xe0\x80\x8a|\xf0\x80\x80\x8a", 11 }, "\\xc0\\xaf|\\xe0\\x80\\x8a|\\xf0\\x80\\x80\\x8a" },
		{ { "\xed\xa0\x80|\xf4\x90\x80\x80|\xf8", 10 }, "\\xed\\xa0\\x80|\\xf4\\x90\\x80\\x80|\\xf8" },
		{ { "end\xe2\x82", 5 }, "end\\xe2\\x82" },
	};
	char expected[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(expected, sizeof(expected), "info  %s\n", cases[i].out);
		ck_assert_str_eq(text_of(cases[i].in, NULL, 0), expected);
	}
}
END_TEST

/* What a byte of ASCII becomes between quotes. */
static const char *escaped(int c, char dst[8])
{
	if (c == '\n' || c == '\r' || c == '\t')
		snprintf(dst, 8, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
	else if (c < 0x20 || c == 0x7f)
		snprintf(dst, 8, "\\u%04x", (unsigned)c);
	else
		snprintf(dst, 8, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	return dst;
}

START_TEST(a_byte_is_escaped_wherever_it_stands)
{
	static const char filler[] = " 12 45 789 bcde ghi ";   /* blanks, so that there are quotes */
	char expected[64], one[8];

	for (int c = 0; c < 0x80; c++) {
		const char *line;

		open_log(LOG_TEXT, 0);
		for (int at = 0; at < 20; at++) {
			char bytes[20];
			const struct slice value = { bytes, sizeof(bytes) };
			const struct log_field f = LOG_FIELD_STR("v", value);

			memcpy(bytes, filler, sizeof(bytes));
			bytes[at] = (char)c;
			log_line(l, LOG_INFO, SLICE("m"), &f, 1);
		}
		line = finish();
		for (int at = 0; at < 20; at++, line = strchr(line, '\n') + 1) {
			snprintf(expected, sizeof(expected), "info  m v=\"%.*s%s%s\"\n", at, filler, escaped(c, one),
				filler + at + 1);
			if (strncmp(after_time(line), expected, strlen(expected)) != 0)
				ck_abort_msg("%s, not %s", line, expected);
		}
	}
}
END_TEST

static uint64_t seed;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

/* Bytes in which plain ones, UTF-8 and rubbish alternate. */
static struct slice rnd_bytes(char *dst, size_t max)
{
	static const char *const bits[] = { "plain text of some length", "\xc3\xa9", "\xe2\x82\xac", "\"", "\\", "\n" };
	size_t n = 0;

	while (n + 32 < max && rnd() % 16) {
		const char *bit = bits[rnd() % 6];

		if (rnd() % 2)
			dst[n++] = (char)rnd();
		else
			n += (size_t)snprintf(dst + n, 32, "%s", bit);
	}
	return (struct slice){ dst, n };
}

START_TEST(random_bytes_always_give_one_line_of_valid_json)
{
	char msg[400], value[400];

	seed = 99;
	for (int i = 0; i < 500; i++) {
		struct log_field f = LOG_FIELD_STR("value", rnd_bytes(value, sizeof(value)));
		json_t *object;

		open_log(LOG_JSON, 0);
		log_line(l, LOG_INFO, rnd_bytes(msg, sizeof(msg)), &f, 1);
		object = json_loads(finish(), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
		if (!object || json_object_size(object) != 4 || count('\n') != 1)
			ck_abort_msg("not one line of JSON: %s", output.p);
		json_decref(object);
	}
}
END_TEST

START_TEST(json_keeps_every_valid_character)
{
	const struct slice msg = SLICE("caf\xc3\xa9 \"q\" \\ / \x7f \x01 \n \xe2\x80\xa8 \xf0\x9f\x8d\xb0");
	json_t *object;

	open_log(LOG_JSON, 0);
	log_line(l, LOG_INFO, msg, NULL, 0);
	object = json_loads(finish(), 0, NULL);
	ck_assert_ptr_nonnull(object);
	ck_assert_str_eq(json_string_value(json_object_get(object, "msg")), msg.p);
	json_decref(object);
}
END_TEST

START_TEST(a_long_line_is_cut_at_4_kib_and_says_so)
{
	static char big[10000];
	const struct slice value = { big, sizeof(big) };
	const struct log_field fields[] = { LOG_FIELD_STR("big", value), LOG_FIELD_INT("after", 1) };
	json_t *object;

	for (int what = 0; what < 3; what++) {
		for (size_t i = 0; i < sizeof(big); i++)
			big[i] = what == 0 ? 'x' : what == 1 ? '\n' : "\xe2\x82\xac"[i % 3];
		text_of(SLICE("m"), fields, 2);
		ck_assert_uint_le(output.n, 4096);
		ck_assert_uint_gt(output.n, 4096 - 32);
		ck_assert_str_eq(output.p + output.n - 8, what ? "\" (cut)\n" : "x (cut)\n");
		open_log(LOG_JSON, 0);
		log_line(l, LOG_INFO, SLICE("m"), fields, 2);
		object = json_loads(finish(), 0, NULL);
		ck_assert_uint_le(output.n, 4096);
		ck_assert_uint_gt(output.n, 4096 - 32);
		ck_assert(json_is_true(json_object_get(object, "cut")));
		ck_assert_ptr_null(json_object_get(object, "after"));
		json_decref(object);
	}
}
END_TEST

START_TEST(every_length_around_the_cut_gives_a_whole_line)
{
	static char big[4200];

	memset(big, 'x', sizeof(big));
	for (size_t n = 3950; n < 4110; n++) {
		const struct slice value = { big, n };
		const struct log_field fields[] = { LOG_FIELD_STR("a", value), LOG_FIELD_INT("b", INT64_MIN),
			LOG_FIELD_US("c", INT64_MIN), LOG_FIELD_STR("d", SLICE("\"")) };
		json_t *object;

		open_log(LOG_JSON, 0);
		log_line(l, LOG_INFO, SLICE("m"), fields, 4);
		object = json_loads(finish(), JSON_REJECT_DUPLICATES, NULL);
		if (!object || output.n > 4096)
			ck_abort_msg("length %zu: %s", n, output.p);
		json_decref(object);
	}
}
END_TEST

/* ---- the writer -------------------------------------------------------------------------------------------------- */

START_TEST(a_lone_line_comes_without_being_asked_for)
{
	char c;

	open_log(LOG_TEXT, 0);
	for (int i = 0; i < 20; i++) {
		log_printf(l, LOG_INFO, "line %d", i);
		do
			ck_assert_int_eq(read(ends[0], &c, 1), 1);
		while (c != '\n');
	}
	ck_assert_str_eq(finish(), "");
}
END_TEST

START_TEST(a_flush_returns_when_the_lines_are_in_the_pipe)
{
	char bytes[4096];

	open_log(LOG_TEXT, 0);
	ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 50; i++) {
		log_printf(l, LOG_INFO, "line %d", i);
		log_flush(l, PATIENCE_MS);
		ck_assert_int_gt(read(ends[0], bytes, sizeof(bytes)), 0);
	}
	finish();
}
END_TEST

struct sender {
	pthread_t thread;
	int id, lines;
};

static void *send_lines(void *arg)
{
	struct sender *s = arg;

	for (int i = 0; i < s->lines; i++)
		log_printf(l, i % 50 ? LOG_INFO : LOG_ERROR, "from %d number %d of its thread", s->id, i);
	return NULL;
}

/* Lines of four threads through a pipe that is read all the while. */
static void send_from_threads(int lines)
{
	struct sender senders[4];

	for (int i = 0; i < 4; i++) {
		senders[i] = (struct sender){ .id = i, .lines = lines };
		ck_assert_int_eq(pthread_create(&senders[i].thread, NULL, send_lines, &senders[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(senders[i].thread, NULL);
}

static void *free_after_senders(void *arg)
{
	send_from_threads(*(int *)arg);
	log_free(l, PATIENCE_MS);
	return NULL;
}

static void check_order(int lines)
{
	int next[4] = { 0 }, id, number;
	char *line = output.p;

	for (char *end; *line; line = end + 1) {
		end = memchr(line, '\n', (size_t)(output.p + output.n - line));
		if (end)
			*end = '\0';    /* sscanf and the sanitizers look for the end of all there is, line by line */
		if (!end || sscanf(line + 25, "%*s from %d number %d", &id, &number) != 2 || id < 0 || id > 3)
			ck_abort_msg("torn: %.100s", line);
		if (number != next[id]++)
			ck_abort_msg("thread %d: %d, not %d", id, number, next[id] - 1);
	}
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(next[i], lines);
}

START_TEST(lines_of_many_threads_are_whole_and_in_order)
{
	pthread_t thread;
	int lines = 5000;

	ck_assert_int_eq(_i == 2 ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends), 0);
	if (_i > 0)
		ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	l = log_to(ends[1], LOG_TEXT, 8 << 20);
	ck_assert_ptr_nonnull(l);
	ck_assert_int_eq(pthread_create(&thread, NULL, free_after_senders, &lines), 0);
	read_to_end();
	pthread_join(thread, NULL);
	check_order(lines);
}
END_TEST

/* The lines that came, and how many were dropped according to those that tell. */
static uint64_t count_lines(uint64_t *told)
{
	uint64_t lines = 0, n;
	const char *line = output.p;

	*told = 0;
	for (const char *end; (end = strchr(line, '\n')); line = end + 1) {
		if (sscanf(line + 25, "warn  %" SCNu64 " line", &n) == 1)
			*told += n;
		else
			lines++;
	}
	return lines;
}

START_TEST(a_reader_that_stops_reading_blocks_nobody_and_drops_are_counted)
{
	enum { LINES = 5000 };
	uint64_t dropped, told = 0;

	open_log(LOG_TEXT, 8192);
	for (int i = 0; i < LINES; i++)
		log_printf(l, LOG_INFO, "line %d with some more text to fill the pipe and both buffers", i);
	dropped = log_dropped(l);
	ck_assert_uint_gt(dropped, 0);
	ck_assert_uint_lt(dropped, LINES);

	/* Now somebody reads: what was queued comes, and the count. */
	buf_fini(&output);
	while (!output.n || count_lines(&told) < LINES - dropped || told < dropped) {
		ssize_t n = read(ends[0], buf_reserve(&output, 65536), 65535);

		ck_assert_int_gt(n, 0);
		buf_added(&output, (size_t)n);
		*buf_reserve(&output, 1) = '\0';
	}
	ck_assert_uint_eq(count_lines(&told), LINES - dropped);
	ck_assert_uint_eq(told, dropped);
	ck_assert_uint_eq(log_dropped(l), dropped);

	log_printf(l, LOG_INFO, "and on");
	ck_assert_str_eq(after_time(finish()), "info  and on\n");
}
END_TEST

/* The writer has begun, and written what there is room for. */
static void await_full(void)
{
	struct pollfd room = { .fd = ends[1], .events = POLLOUT };

	while (poll(&room, 1, 0) == 1)
		usleep(500);
}

/* _i = 0: a pipe, whose writer waits in poll.  _i = 1: a socket, whose writer is stuck in write. */
START_TEST(freeing_with_a_stuck_reader_returns_in_time_and_leaves_the_rest_to_the_writer)
{
	enum { LINES = 20000 };
	uint64_t start, took, queued;

	ck_assert_int_eq(_i ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends), 0);
	l = log_to(ends[1], LOG_TEXT, 0);
	ck_assert_ptr_nonnull(l);
	for (int i = 0; i < LINES; i++)
		log_printf(l, LOG_INFO, "line %d with some more text to fill the pipe and both buffers", i);
	queued = LINES - log_dropped(l);
	await_full();
	start = clock_now_ns();
	log_free(l, 50);
	took = clock_now_ns() - start;
	ck_assert_uint_ge(took, 50 * NS_PER_MS);
	ck_assert_uint_lt(took, 5 * NS_PER_S);
	read_to_end();
	ck_assert_uint_gt(count('\n'), 0);
	ck_assert_uint_lt(count('\n'), queued / 2);
}
END_TEST

START_TEST(a_flush_with_a_stuck_reader_returns_in_time)
{
	uint64_t start;

	open_log(LOG_TEXT, 0);
	for (int i = 0; i < 5000; i++)
		log_printf(l, LOG_INFO, "line %d with some more text to fill the pipe", i);
	start = clock_now_ns();
	log_flush(l, 30);
	ck_assert_uint_ge(clock_now_ns() - start, 30 * NS_PER_MS);
	ck_assert_uint_lt(clock_now_ns() - start, 5 * NS_PER_S);
	log_free(l, 0);
	read_to_end();
}
END_TEST

START_TEST(a_reader_that_is_gone_ends_the_writing_but_not_the_process)
{
	open_log(LOG_TEXT, 0);
	close(ends[0]);
	log_printf(l, LOG_INFO, "into the void");
	log_flush(l, PATIENCE_MS);
	ck_assert_uint_eq(log_dropped(l), 1);
	for (int i = 0; i < 100000; i++)
		log_line(l, LOG_ERROR, SLICE("nobody"), NULL, 0);
	ck_assert_uint_eq(log_dropped(l), 100001);
	log_free(l, PATIENCE_MS);
	close(ends[1]);
}
END_TEST

START_TEST(the_owner_may_close_its_descriptor_at_any_time)
{
	open_log(LOG_TEXT, 0);
	close(ends[1]);
	log_printf(l, LOG_INFO, "still here");
	log_free(l, PATIENCE_MS);
	ends[1] = -1;
	ck_assert_str_eq(after_time(read_to_end()), "info  still here\n");
}
END_TEST

START_TEST(a_full_disk_loses_lines_and_counts_them)
{
	int fd = open("/dev/full", O_WRONLY);

	ck_assert_int_ge(fd, 0);
	l = log_to(fd, LOG_TEXT, 0);
	for (int i = 0; i < 100; i++)
		log_printf(l, LOG_INFO, "line %d", i);
	log_flush(l, PATIENCE_MS);
	ck_assert_uint_eq(log_dropped(l), 100);
	log_free(l, PATIENCE_MS);
	close(fd);
}
END_TEST

/* A limit on the size of files makes a short write, then EFBIG.  Check writes to a file too: no assertion meanwhile. */
START_TEST(after_a_failed_write_the_next_line_begins_on_a_line_of_its_own)
{
	char name[] = "/tmp/offloop-test-log-XXXXXX", text[400] = { 0 };
	int fd = mkstemp(name);
	struct rlimit before, small;
	const char *p;

	ck_assert_int_ge(fd, 0);
	unlink(name);
	l = log_to(fd, LOG_TEXT, 0);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){ 100, before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &small);
	log_printf(l, LOG_INFO, "%0150d", 7);
	log_flush(l, PATIENCE_MS);
	setrlimit(RLIMIT_FSIZE, &before);
	log_printf(l, LOG_INFO, "%s", "again");
	log_free(l, PATIENCE_MS);
	ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 100);
	close(fd);
	ck_assert_int_eq(text[99], '0');
	ck_assert_int_eq(text[100], '\n');
	p = after_time(text + 101);
	ck_assert_int_eq(memcmp(p, "info  again\n", 12), 0);
	ck_assert_str_eq(after_time(p + 12), "warn  1 line dropped\n");
}
END_TEST

/* ---- without a writer -------------------------------------------------------------------------------------------- */

START_TEST(a_log_without_a_writer_writes_the_same_lines_at_once)
{
	struct log_here h = { .level = LOG_INFO };
	char got[4096];
	ssize_t n;

	open_log(LOG_TEXT, 0);
	h.fd = ends[1];
	log_here(&h, LOG_INFO, SLICE("a\nb"), (struct log_field[]){ LOG_FIELD_INT("n", 7), LOG_FIELD_US("took", 1500) },
		2);
	log_here_printf(&h, LOG_DEBUG, "not %s", "this");
	n = read(ends[0], got, sizeof(got) - 1);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_str_eq(after_time(got), "info  a\\nb n=7 took=1.500ms\n");
	h.format = LOG_JSON;
	log_here_printf(&h, LOG_ERROR, "%d \"things\"", 3);
	n = read(ends[0], got, sizeof(got) - 1);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_ptr_nonnull(strstr(got, "\"level\":\"error\",\"msg\":\"3 \\\"things\\\"\"}\n"));
	(void)finish();
}
END_TEST

START_TEST(without_a_writer_a_full_pipe_drops_lines_and_says_so_later)
{
	struct log_here h = { .level = LOG_INFO };
	static char got[1 << 20];
	unsigned written = 0;
	char *told;
	ssize_t n;

	open_log(LOG_TEXT, 0);
	h.fd = ends[1];
	for (; h.dropped < 5; written++)
		log_here_printf(&h, LOG_INFO, "line %u %1000s", written, "");   /* returns, whoever reads */
	n = read(ends[0], got, sizeof(got) - 1);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	ck_assert_ptr_null(strstr(got, "dropped"));
	ck_assert_int_eq(got[n - 1], '\n');
	log_here_printf(&h, LOG_INFO, "again");
	ck_assert_uint_eq(h.dropped, 0);
	n = read(ends[0], got, sizeof(got) - 1);
	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	told = strchr(got, '\n');
	ck_assert_ptr_nonnull(told);
	ck_assert_ptr_nonnull(strstr(got, " warn  5 lines dropped\n"));
	ck_assert_str_eq(after_time(told + 1), "info  again\n");
	(void)finish();
}
END_TEST

START_TEST(a_descriptor_that_is_not_open_is_refused)
{
	errno = 0;
	ck_assert_ptr_null(log_to(-1, LOG_TEXT, 0));
	ck_assert_int_eq(errno, EBADF);
	log_free(NULL, 0);
}
END_TEST

static volatile sig_atomic_t signalled;

static void on_signal(int sig)
{
	(void)sig;
	signalled = 1;
}

START_TEST(the_writer_takes_no_signals)
{
	struct sigaction action = { .sa_handler = on_signal }, before;
	sigset_t usr1, pending;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	ck_assert_int_eq(sigaction(SIGUSR1, &action, &before), 0);
	open_log(LOG_TEXT, 0);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	kill(getpid(), SIGUSR1);
	log_printf(l, LOG_INFO, "x");
	log_flush(l, PATIENCE_MS);
	ck_assert_int_eq(signalled, 0);
	sigpending(&pending);
	ck_assert(sigismember(&pending, SIGUSR1));
	finish();
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	ck_assert_int_eq(signalled, 1);
	sigaction(SIGUSR1, &before, NULL);
}
END_TEST

static TCase *form_case(void)
{
	TCase *t = tcase_create("form");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_line_of_text_is_time_level_message_and_fields);
	tcase_add_test(t, a_line_of_json_is_one_object);
	tcase_add_test(t, a_field_of_the_logs_own_ends_each_line_however_long);
	tcase_add_test(t, the_time_is_that_of_the_call);
	tcase_add_test(t, numbers_are_exact_at_their_limits);
	tcase_add_test(t, lines_above_the_level_are_not_written_nor_counted);
	tcase_add_test(t, nothing_in_a_message_can_begin_a_line_or_reach_the_terminal);
	tcase_add_test(t, a_byte_is_escaped_wherever_it_stands);
	tcase_add_test(t, random_bytes_always_give_one_line_of_valid_json);
	tcase_add_test(t, json_keeps_every_valid_character);
	tcase_add_test(t, a_long_line_is_cut_at_4_kib_and_says_so);
	tcase_add_test(t, every_length_around_the_cut_gives_a_whole_line);
	return t;
}

static TCase *writer_case(void)
{
	TCase *t = tcase_create("writer");

	tcase_add_test(t, a_lone_line_comes_without_being_asked_for);
	tcase_add_test(t, a_flush_returns_when_the_lines_are_in_the_pipe);
	tcase_add_loop_test(t, lines_of_many_threads_are_whole_and_in_order, 0, 3);
	tcase_add_test(t, a_reader_that_stops_reading_blocks_nobody_and_drops_are_counted);
	tcase_add_loop_test(t, freeing_with_a_stuck_reader_returns_in_time_and_leaves_the_rest_to_the_writer, 0, 2);
	tcase_add_test(t, a_flush_with_a_stuck_reader_returns_in_time);
	tcase_add_test(t, a_reader_that_is_gone_ends_the_writing_but_not_the_process);
	tcase_add_test(t, the_owner_may_close_its_descriptor_at_any_time);
	tcase_add_test(t, a_full_disk_loses_lines_and_counts_them);
	tcase_add_test(t, after_a_failed_write_the_next_line_begins_on_a_line_of_its_own);
	tcase_add_test(t, a_log_without_a_writer_writes_the_same_lines_at_once);
	tcase_add_test(t, without_a_writer_a_full_pipe_drops_lines_and_says_so_later);
	tcase_add_test(t, a_descriptor_that_is_not_open_is_refused);
	tcase_add_test(t, the_writer_takes_no_signals);
	tcase_set_timeout(t, 60);
	return t;
}

int main(void)
{
	Suite *suite = suite_create("log");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, form_case());
	suite_add_tcase(suite, writer_case());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	buf_fini(&output);
	return failed != 0;
}
