/* test_options.c: four places to give an option, who wins, and what is said of mistakes. */
#include "base/nearest.h"
#include "options.h"
#include "options_value.h"

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct ol_option app_options[] = {
	{ "data", "DIR", ".", "where the database is" },
	{ "key", "TEXT", NULL, "a secret" },
	{ "footgun", NULL, NULL, "serve /footgun" },
};
static const struct ol_default app_defaults[] = { { "port", "8080" }, { "pool", "7" } };
static const struct ol_app plain_app = { OL_APP_INIT };
static const struct ol_app app = { OL_APP_INIT, OL_APP_OPTIONS(app_options), OL_DEFAULTS(app_defaults),
	.name = "atlas" };

static struct buf text;
static struct options *options;
static int status;
static char file[] = "/tmp/test_options.XXXXXX";

static void set_up(void)
{
	int fd;

	memcpy(file + sizeof(file) - 7, "XXXXXX", 6);
	fd = mkstemp(file);
	ck_assert_int_ge(fd, 0);
	close(fd);
	text = (struct buf){ 0 };
	options = NULL;
}

static void tear_down(void)
{
	options_free(options);
	buf_fini(&text);
	unlink(file);
}

/* Reads options of `a`: args and env are words, each list ended by NULL. */
static const struct config *read_app(const struct ol_app *a, const char *const *args, const char *const *env)
{
	struct options_in in = { .program = "atlas", .app = a, .argc = 1, .env = (char *const *)(uintptr_t)env };
	char *argv[16] = { (char *)(uintptr_t)"atlas" };

	for (; args && args[in.argc - 1]; in.argc++)
		argv[in.argc] = (char *)(uintptr_t)args[in.argc - 1];
	in.argv = argv;
	options_free(options);
	buf_consume(&text, text.n);
	status = -1;
	options = options_new(&in, &text, &status);
	ck_assert_int_eq(buf_append(&text, "", 1), 0);
	text.n--;
	return options ? options_config(options) : NULL;
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define read_args(...) read_app(&app, ARGS(__VA_ARGS__), NULL)
#define read_env(...) read_app(&app, NULL, ARGS(__VA_ARGS__))

static const struct config *read_json(const char *json)
{
	FILE *f = fopen(file, "w");

	ck_assert_ptr_nonnull(f);
	fputs(json, f);
	fclose(f);
	return read_args("--config", file);
}

/* The reading before this was refused with this one line. */
static void expect_wrong(const char *line)
{
	ck_assert_ptr_null(options);
	ck_assert_int_eq(status, 2);
	ck_assert_str_eq(text.p + text.off, line);
}

static void expect_wrong_file(const char *rest)
{
	char line[512];

	snprintf(line, sizeof(line), "%s%s", file, rest);
	expect_wrong(line);
}

START_TEST(the_tables_defaults_are_what_config_h_says)
{
	const struct config *c = read_app(&plain_app, NULL, NULL);

	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->host, "127.0.0.1");
	ck_assert_uint_eq(c->port, 8000);
	ck_assert_ptr_null(c->unix_path);
	ck_assert_str_eq(c->control, "127.0.0.1:9190");
	ck_assert_uint_eq(c->workers, 1);
	ck_assert_uint_eq(c->loops, 0);
	ck_assert_uint_eq(c->pool_threads, 40);
	ck_assert_uint_eq(c->pool_queue, 1024);
	ck_assert_int_eq(c->backend, BACKEND_AUTO);
	ck_assert_uint_eq(c->grace_ms, 30000);
	ck_assert_int_eq(c->monitor, SWITCH_ON);
	ck_assert_uint_eq(c->stall_ms, 10);
	ck_assert_int_eq(c->log_format, LOG_TEXT);
	ck_assert_int_eq(c->log_level, LOG_INFO);
	ck_assert(!c->access_log);
	ck_assert_uint_eq(c->target_max, 8192);
	ck_assert_uint_eq(c->head_max, 16384);
	ck_assert_uint_eq(c->fields_max, 100);
	ck_assert_uint_eq(c->body_max, 1 << 20);
	ck_assert_uint_eq(c->body_total_max, 256 << 20);
	ck_assert_uint_eq(c->head_timeout_ms, 10000);
	ck_assert_uint_eq(c->body_rate_min, 240);
	ck_assert_uint_eq(c->body_grace_ms, 5000);
	ck_assert_uint_eq(c->keepalive_ms, 75000);
	ck_assert_uint_eq(c->write_timeout_ms, 30000);
	ck_assert_uint_eq(c->linger_ms, 5000);
	ck_assert_uint_eq(c->events_keepalive_ms, 15000);
	ck_assert_uint_eq(c->write_rate_min, 240);
	ck_assert_uint_eq(c->write_grace_ms, 60000);
	ck_assert_uint_eq(c->connections_max, 10000);
	ck_assert_uint_eq(c->requests_max, 10000);
	ck_assert_uint_eq(c->fibers_max, 10000);
	ck_assert_uint_eq(c->streams_sync_max, 0);
	ck_assert_uint_eq(c->backlog, 4096);
	ck_assert_uint_eq(c->idle_thread_ms, 10000);
	ck_assert_uint_eq(c->queue_timeout_ms, 30000);
	ck_assert(!c->codel);
	ck_assert_uint_eq(c->codel_target_ms, 5);
	ck_assert_uint_eq(c->codel_interval_ms, 100);
	ck_assert_uint_eq(c->pool_spares, 0);
}
END_TEST

START_TEST(flags_win_over_environment_over_file_over_app_over_table)
{
	const char *env[] = { "OFFLOOP_PORT=3", "OFFLOOP_POOL=3", "OFFLOOP_QUEUE=3", NULL };
	const struct config *c;

	read_json("{\"port\": 2, \"pool\": 2, \"queue\": 2, \"loops\": 2}");
	c = read_app(&app, ARGS("--config", file, "--port", "4"), env);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->port, 4);
	ck_assert_uint_eq(c->pool_threads, 3);
	ck_assert_uint_eq(c->pool_queue, 3);
	ck_assert_uint_eq(c->loops, 2);
	ck_assert_uint_eq(c->backlog, 4096);
	c = read_app(&app, NULL, NULL);
	ck_assert_uint_eq(c->port, 8080);
	ck_assert_uint_eq(c->pool_threads, 7);
}
END_TEST

START_TEST(a_flag_takes_its_value_from_the_same_or_the_next_argument)
{
	ck_assert_uint_eq(read_args("--port", "1234")->port, 1234);
	ck_assert_uint_eq(read_args("--port=1234")->port, 1234);
	ck_assert_uint_eq(read_args("--port=1", "--port", "2")->port, 2);
	ck_assert_str_eq(read_args("--unix", "/run/a=b")->unix_path, "/run/a=b");
	ck_assert_str_eq(read_args("--unix=/run/a=b")->unix_path, "/run/a=b");
}
END_TEST

START_TEST(a_switch_needs_no_value_and_takes_one_behind_an_equals_sign)
{
	ck_assert(read_args("--access-log")->access_log);
	ck_assert(read_args("--access-log=true")->access_log);
	ck_assert(!read_args("--access-log=false")->access_log);
	ck_assert(!read_args("--access-log", "--access-log=no")->access_log);
	ck_assert(read_env("OFFLOOP_ACCESS_LOG=1")->access_log);
	ck_assert(!read_env("OFFLOOP_ACCESS_LOG=off")->access_log);
	read_args("--access-log=maybe");
	expect_wrong("--access-log: \"maybe\" is neither true nor false");
	read_args("--access-log", "true");
	expect_wrong("unexpected argument \"true\": options begin with --");
}
END_TEST

START_TEST(what_is_a_stall_is_bounded)
{
	ck_assert_uint_eq(read_args("--stall-ms=1")->stall_ms, 1);
	read_args("--stall-ms=0");
	expect_wrong("--stall-ms: 0 is not in 1..60000");
	read_args("--stall-ms=60001");
	expect_wrong("--stall-ms: 60001 is not in 1..60000");
	ck_assert_int_eq(read_args("--monitor=off")->monitor, SWITCH_OFF);
	read_args("--monitor=maybe");
	expect_wrong("--monitor: \"maybe\" is not one of off|on");
}
END_TEST

START_TEST(durations_are_seconds_with_a_fraction_or_milliseconds)
{
	uint64_t ms;

	ck_assert_uint_eq(read_args("--grace", "30")->grace_ms, 30000);
	ck_assert_uint_eq(read_args("--grace=2.5")->grace_ms, 2500);
	ck_assert_uint_eq(read_args("--grace=0.001s")->grace_ms, 1);
	ck_assert_uint_eq(read_args("--grace=500ms")->grace_ms, 500);
	ck_assert_uint_eq(read_args("--grace=0")->grace_ms, 0);
	ck_assert(!value_ms("", &ms) && !value_ms(".5", &ms) && !value_ms("1.", &ms) && !value_ms("1.2345", &ms));
	ck_assert(!value_ms("-1", &ms) && !value_ms("1,5", &ms) && !value_ms("1 s", &ms) && !value_ms("5m", &ms));
	ck_assert(!value_ms("18446744073709551615", &ms) && value_ms("18446744073709551.615", &ms) && ms == UINT64_MAX);
	read_args("--grace=1h");
	expect_wrong("--grace: \"1h\" is not a time in 0..86400 s, written like 30, 2.5 or 500ms");
	read_args("--head-timeout=0");
	expect_wrong("--head-timeout: \"0\" is not a time in 0.001..86400 s, written like 30, 2.5 or 500ms");
}
END_TEST

START_TEST(sizes_are_bytes_or_powers_of_1024)
{
	uint64_t v;

	ck_assert_uint_eq(read_args("--body-max=1048577")->body_max, 1048577);
	ck_assert_uint_eq(read_args("--head-max=64k")->head_max, 65536);
	ck_assert_uint_eq(read_args("--body-max=3M")->body_max, 3 << 20);
	ck_assert_uint_eq(read_args("--body-max=2g")->body_max, UINT64_C(2) << 30);
	ck_assert(!value_bytes("k", &v) && !value_bytes("1kB", &v) && !value_bytes("1.5k", &v));
	ck_assert(!value_bytes("1 k", &v) && !value_bytes("", &v));
	ck_assert(value_bytes("17179869183G", &v) && !value_bytes("17179869184G", &v));
	read_args("--target-max=3M");
	expect_wrong("--target-max: \"3M\" is not a size in 16..1048576, written like 1000, 64k, 1M or 1G");
}
END_TEST

START_TEST(numbers_out_of_range_and_no_numbers_are_told_apart)
{
	read_args("--port", "99999");
	expect_wrong("--port: 99999 is not in 0..65535");
	read_args("--port", "-1");
	expect_wrong("--port: -1 is not in 0..65535");
	read_args("--port=99999999999999999999999999");
	expect_wrong("--port: 99999999999999999999999999 is not in 0..65535");
	read_args("--port", "http");
	expect_wrong("--port: \"http\" is not a whole number in 0..65535");
	read_args("--port=");
	expect_wrong("--port: \"\" is not a whole number in 0..65535");
	read_env("OFFLOOP_LOOPS=many");
	expect_wrong("OFFLOOP_LOOPS: \"many\" is not a whole number in 0..1024");
}
END_TEST

START_TEST(choices_are_named_when_none_was_hit)
{
	ck_assert_int_eq(read_args("--backend=uring")->backend, BACKEND_URING);
	ck_assert_int_eq(read_args("--backend", "libevent")->backend, BACKEND_EVENT);
	ck_assert_int_eq(read_args("--log-format=json")->log_format, LOG_JSON);
	ck_assert_int_eq(read_args("--log-level=debug")->log_level, LOG_DEBUG);
	read_args("--backend=epoll");
	expect_wrong("--backend: \"epoll\" is not one of auto|uring|libevent");
	read_args("--backend=aut");
	expect_wrong("--backend: \"aut\" is not one of auto|uring|libevent");
}
END_TEST

START_TEST(a_model_is_one_of_five)
{
	static const char *const names[] = { "hybrid", "asgi", "tornado", "wsgi", "wsgi-sync" };

	ck_assert_int_eq(read_args("--port=1")->model, MODEL_HYBRID);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(read_args("--model", names[i])->model, i);
	ck_assert_int_eq(read_env("OFFLOOP_MODEL=tornado")->model, MODEL_TORNADO);
	ck_assert_int_eq(read_json("{\"model\": \"wsgi\"}")->model, MODEL_WSGI);
	read_args("--model=gevent");
	expect_wrong("--model: \"gevent\" is not one of hybrid|asgi|tornado|wsgi|wsgi-sync");
}
END_TEST

START_TEST(a_model_has_its_own_number_of_loops_unless_it_is_given)
{
	static const struct ol_default two[] = { { "loops", "2" }, { "pool", "7" } };
	static const struct ol_app a = { OL_APP_INIT, OL_DEFAULTS(two) };

	ck_assert_uint_eq(read_app(&a, ARGS("--model=hybrid"), NULL)->loops, 2);
	ck_assert_uint_eq(read_app(&a, ARGS("--model=asgi"), NULL)->loops, 1);
	ck_assert_uint_eq(read_app(&a, ARGS("--model=asgi", "--loops=3"), NULL)->loops, 3);
	ck_assert_uint_eq(read_app(&a, ARGS("--model=asgi", "--loops=0"), NULL)->loops, 0);
	ck_assert_uint_eq(read_app(&a, ARGS("--model=wsgi"), NULL)->pool_threads, 7);
	ck_assert_uint_eq(read_app(&a, ARGS("--model=wsgi-sync"), NULL)->loops, 1);
	ck_assert_uint_eq(read_app(&a, ARGS("--model=wsgi-sync", "--loops=1", "--pool=9"), NULL)->pool_threads, 1);
	read_app(&a, ARGS("--model=wsgi-sync"), ARGS("OFFLOOP_LOOPS=2"));
	expect_wrong("--model wsgi-sync has one loop, for one connection at a time: leave out --loops 2");
}
END_TEST

START_TEST(a_guard_that_moves_routes_is_for_the_hybrid_model)
{
	static const struct ol_default demote[] = { { "guard", "demote" } };
	static const struct ol_app a = { OL_APP_INIT, OL_DEFAULTS(demote) };

	ck_assert_int_eq(read_app(&a, NULL, NULL)->guard, GUARD_DEMOTE);
	ck_assert_int_eq(read_app(&a, ARGS("--model=asgi"), NULL)->guard, GUARD_WARN);
	ck_assert_int_eq(read_args("--model=wsgi", "--guard=off")->guard, GUARD_OFF);
	read_args("--guard=demote", "--model=wsgi");
	expect_wrong("--guard demote moves routes to another lane, and --model wsgi has but one: leave out one of the "
		"two");
}
END_TEST

START_TEST(an_address_is_host_and_port_a_unix_path_or_off)
{
	struct address a;

	ck_assert_int_eq(value_address("127.0.0.1:9190", &a), 0);
	ck_assert_str_eq(a.host, "127.0.0.1");
	ck_assert_uint_eq(a.port, 9190);
	ck_assert_int_eq(value_address("[::1]:80", &a), 0);
	ck_assert_str_eq(a.host, "::1");
	ck_assert_uint_eq(a.port, 80);
	ck_assert_int_eq(value_address("unix:/run/x:1", &a), 0);
	ck_assert_str_eq(a.unix_path, "/run/x:1");
	ck_assert_int_eq(value_address("off", &a), 0);
	ck_assert(a.off);
	ck_assert_int_eq(value_address("::1:80", &a), -EINVAL);
	ck_assert_int_eq(value_address("[::1:80", &a), -EINVAL);
	ck_assert_int_eq(value_address("[]:80", &a), -EINVAL);
	ck_assert_int_eq(value_address("[", &a), -EINVAL);
	ck_assert_int_eq(value_address(":80", &a), -EINVAL);
	ck_assert_int_eq(value_address("host:", &a), -EINVAL);
	ck_assert_int_eq(value_address("host:65536", &a), -EINVAL);
	ck_assert_int_eq(value_address("unix:", &a), -EINVAL);
	ck_assert_int_eq(value_address("", &a), -EINVAL);
	read_args("--control=9190");
	expect_wrong("--control: \"9190\" is not HOST:PORT, unix:PATH or off");
}
END_TEST

START_TEST(an_unknown_flag_is_answered_with_the_nearest_name)
{
	read_args("--prot", "1");
	expect_wrong("unknown option --prot: did you mean --port?");
	read_args("--acess-log=1");
	expect_wrong("unknown option --acess-log: did you mean --access-log?");
	read_args("--head_max=1");
	expect_wrong("unknown option --head_max: did you mean --head-max?");
	read_args("--footgnu");
	expect_wrong("unknown option --footgnu: did you mean --footgun?");
	read_args("--something-else");
	expect_wrong("unknown option --something-else: --help lists them");
	read_args("-p");
	expect_wrong("unknown option -p: --help lists them");
	read_args("--");
	expect_wrong("unknown option --: --help lists them");
	read_args("app.so");
	expect_wrong("unexpected argument \"app.so\": options begin with --");
	read_args("--port");
	expect_wrong("--port: a value is missing, as in --port N");
	read_args("--port", "--loops");
	expect_wrong("--port: a value is missing, as in --port N");
	read_args("--two\nlines");
	expect_wrong("unknown option --two?lines: --help lists them");
}
END_TEST

START_TEST(variables_of_offloop_must_be_options_and_others_are_left_alone)
{
	ck_assert_uint_eq(read_env("OFFLOOP_HEAD_MAX=32k", "PORT=1", "OFFLOOPX=1", "OFFLOOP=1")->head_max, 32768);
	ck_assert_uint_eq(read_env("OFFLOOP_PORT=")->port, 8080);
	read_env("OFFLOOP_PROT=1");
	expect_wrong("unknown variable OFFLOOP_PROT: did you mean OFFLOOP_PORT?");
	read_env("OFFLOOP_port=1");
	expect_wrong("unknown variable OFFLOOP_port: did you mean OFFLOOP_PORT?");
	read_env("OFFLOOP_HEAD-MAX=1");
	expect_wrong("unknown variable OFFLOOP_HEAD-MAX: did you mean OFFLOOP_HEAD_MAX?");
	read_env("OFFLOOP_SOMETHING_ELSE=1");
	expect_wrong("unknown variable OFFLOOP_SOMETHING_ELSE: --help lists the options");
	read_env("OFFLOOP_HELP=1");
	expect_wrong("unknown variable OFFLOOP_HELP: --help lists the options");
}
END_TEST

START_TEST(a_file_takes_json_of_the_right_types)
{
	const struct config *c = read_json("{\n"
		"  \"host\": \"::1\", \"port\": 1, \"grace\": 1.25, \"head-timeout\": \"500ms\",\n"
		"  \"write-timeout\": 3,\n"
		"  \"body-max\": \"2M\", \"head-max\": 1024, \"access-log\": true, \"backend\": \"uring\",\n"
		"  \"data\": \"/var/lib/atlas\", \"key\": 12, \"footgun\": true\n"
		"}\n");

	ck_assert_msg(c != NULL, "%s", text.p + text.off);
	ck_assert_str_eq(c->host, "::1");
	ck_assert_uint_eq(c->port, 1);
	ck_assert_uint_eq(c->grace_ms, 1250);
	ck_assert_uint_eq(c->head_timeout_ms, 500);
	ck_assert_uint_eq(c->write_timeout_ms, 3000);
	ck_assert_uint_eq(c->body_max, 2 << 20);
	ck_assert_uint_eq(c->head_max, 1024);
	ck_assert(c->access_log);
	ck_assert_int_eq(c->backend, BACKEND_URING);
	ck_assert_str_eq(options_app_value(options, "data"), "/var/lib/atlas");
	ck_assert_str_eq(options_app_value(options, "key"), "12");
	ck_assert_str_eq(options_app_value(options, "footgun"), "1");
}
END_TEST

START_TEST(the_variable_names_the_file_too)
{
	char var[128];

	read_json("{\"port\": 5}");
	snprintf(var, sizeof(var), "OFFLOOP_CONFIG=%s", file);
	ck_assert_uint_eq(read_env(var)->port, 5);
}
END_TEST

START_TEST(a_mistake_in_the_file_is_named_with_its_line)
{
	read_json("{\n\t\"port\": 1,\n\t\"poort\": 2\n}\n");
	expect_wrong_file(":3: poort: unknown option, did you mean \"port\"?");
	read_json("{ \"something else\": {\n \"something else\": 2 } }");
	expect_wrong_file(":1: something else: unknown option, --help lists them");
	read_json("{\n\"host\": \"port\",\n\n\"port\": \"1\"}");
	expect_wrong_file(":4: port: must be a whole number");
	read_json("{\n\"host\": \"a\\\"port\",\n\"port\"\n: 70000}");
	expect_wrong_file(":3: port: 70000 is not in 0..65535");
	read_json("{\"port\": 1.5}");
	expect_wrong_file(":1: port: must be a whole number");
	read_json("{\"host\": null}");
	expect_wrong_file(":1: host: must be a string");
	read_json("{\"access-log\": 1}");
	expect_wrong_file(":1: access-log: must be true or false");
	read_json("{\"grace\": [1]}");
	expect_wrong_file(":1: grace: must be a number of seconds, or a string like \"500ms\"");
	read_json("{\"grace\": -1}");
	expect_wrong_file(":1: grace: \"-1\" is not a time in 0..86400 s, written like 30, 2.5 or 500ms");
	read_json("{\"config\": \"x\"}");
	expect_wrong_file(":1: config: cannot be given in a file");
	read_json("[]");
	expect_wrong_file(":1: must be an object, as {\"port\": 8000}");
	read_json("{\n\"port\": 1,\n\"port\": 2}");
	expect_wrong_file(":3: duplicate object key near '\"port\"'");
	read_json("");
	expect_wrong_file(":1: '[' or '{' expected near end of file");
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_named)
{
	read_args("--config", "/does/not/exist");
	expect_wrong("/does/not/exist: No such file or directory");
	read_args("--config", "/tmp");
	expect_wrong("/tmp: Is a directory");
}
END_TEST

START_TEST(a_wrong_value_is_refused_even_where_it_would_lose)
{
	const char *env[] = { "OFFLOOP_PORT=x", NULL };

	read_app(&app, ARGS("--port", "1"), env);
	expect_wrong("OFFLOOP_PORT: \"x\" is not a whole number in 0..65535");
	read_json("{\"port\": 70000}");
	read_args("--port=1", "--config", file);
	expect_wrong_file(":1: port: 70000 is not in 0..65535");
}
END_TEST

START_TEST(an_apps_options_are_read_like_the_servers)
{
	ck_assert_ptr_nonnull(read_app(&app, NULL, NULL));
	ck_assert_str_eq(options_app_value(options, "data"), ".");
	ck_assert_ptr_null(options_app_value(options, "key"));
	ck_assert_ptr_null(options_app_value(options, "footgun"));
	ck_assert_ptr_null(options_app_value(options, "port"));
	ck_assert_ptr_null(options_app_value(options, "none"));
	read_args("--data", "/x", "--key=", "--footgun");
	ck_assert_str_eq(options_app_value(options, "data"), "/x");
	ck_assert_str_eq(options_app_value(options, "key"), "");
	ck_assert_str_eq(options_app_value(options, "footgun"), "1");
	read_env("OFFLOOP_DATA=/y", "OFFLOOP_FOOTGUN=yes");
	ck_assert_str_eq(options_app_value(options, "data"), "/y");
	ck_assert_str_eq(options_app_value(options, "footgun"), "1");
	read_args("--footgun=false");
	ck_assert_ptr_null(options_app_value(options, "footgun"));
}
END_TEST

static void read_wrong_app(const struct ol_option *o, size_t n, const struct ol_default *d, const char *line)
{
	const struct ol_app wrong = { .size = sizeof(wrong), .options = o, .noptions = n, .option_size = sizeof(*o),
		.defaults = d, .ndefaults = d != NULL, .default_size = sizeof(*d) };

	read_app(&wrong, NULL, NULL);
	expect_wrong(line);
}

START_TEST(an_app_that_declares_nonsense_is_refused)
{
	static const struct ol_option taken = { "port", "N", NULL, "" }, upper = { "Data", "DIR", NULL, "" },
		help = { "help", NULL, NULL, "" }, twice[] = { { "a", NULL, NULL, "" }, { "a", "X", NULL, "" } };
	static const struct ol_default unknown = { "prot", "1" }, wrong = { "port", "x" },
		file_name = { "config", "x" };

	read_wrong_app(&taken, 1, NULL, "the app's option \"port\": an option of the server has that name already");
	read_wrong_app(&help, 1, NULL, "the app's option \"help\": an option of the server has that name already");
	read_wrong_app(twice, 2, NULL, "the app's option \"a\": another of its options has that name already");
	read_wrong_app(&upper, 1, NULL,
		"the app's option \"Data\": a name is lower-case letters, digits and '-', as data-dir");
	read_wrong_app(NULL, 0, &unknown, "the app's defaults: \"prot\" is not an option of the server");
	read_wrong_app(NULL, 0, &file_name, "the app's defaults: \"config\" is not an option of the server");
	read_wrong_app(NULL, 0, &wrong, "the app's default of port: \"x\" is not a whole number in 0..65535");
}
END_TEST

START_TEST(an_app_built_for_an_older_version_has_zeros_for_what_it_does_not_know)
{
	struct old_option {
		const char *name, *arg;
	};
	static const struct old_option old_options[] = { { "one", "X" }, { "two", NULL } };
	struct ol_app old = { .size = offsetof(struct ol_app, defaults), .options = (const void *)old_options,
		.noptions = 2, .option_size = sizeof(old_options[0]), .defaults = (const void *)1,
		.ndefaults = 99, .name = "beyond" };

	ck_assert_ptr_nonnull(read_app(&old, ARGS("--one=1", "--two"), NULL));
	ck_assert_str_eq(options_app_value(options, "one"), "1");
	ck_assert_str_eq(options_app_value(options, "two"), "1");
	ck_assert_ptr_null(options_app(options)->name);
	ck_assert_uint_eq(options_app(options)->size, sizeof(struct ol_app));
}
END_TEST

START_TEST(an_app_of_an_impossible_size_is_refused)
{
	struct ol_app zero = { .size = 0 }, newer = { .size = sizeof(newer) + 8 };

	read_app(&zero, NULL, NULL);
	expect_wrong("the app is not a struct ol_app that begins with OL_APP_INIT: its size says 0");
	read_app(&newer, NULL, NULL);
	expect_wrong("the app was built for a newer offloop than " OL_VERSION);
}
END_TEST

START_TEST(help_lists_every_option_with_the_default_that_holds)
{
	static const char *const lines[] = { "Usage: atlas [options]\n", "\n  --port N ", " [8080]\n", "\nOf atlas\n",
		"\n  --data DIR ", " [.]\n", "\n  --footgun ", "\n  -h, --help ", "\n  --head-max BYTES ", " [16k]\n",
		"\n  --backend auto|uring|libevent ", " [auto]\n", "\n  --config FILE " };

	ck_assert_ptr_null(read_args("--port", "1", "--help", "--nonsense"));
	ck_assert_int_eq(status, 0);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(strstr(text.p + text.off, lines[i]) != NULL, "%s", lines[i]);
	for (const char *at = text.p + text.off; (at = strstr(at, "\n  -")); at++) {
		const char *next = strchr(at + 1, '\n') + 1;   /* what it is for stands beside it, or there */

		ck_assert_msg((at[33] == ' ' && at[34] != ' ') || strspn(next, " ") == 33, "%.60s", at + 1);
	}
	ck_assert_ptr_null(read_args("-h"));
	ck_assert_int_eq(status, 0);
	ck_assert_ptr_null(read_args("--version"));
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(text.p + text.off, "atlas (offloop " OL_VERSION ")\n");
	read_args("--help=all");
	expect_wrong("--help: takes no value");
}
END_TEST

START_TEST(distance_counts_letters_inserted_deleted_changed_and_swapped)
{
	ck_assert_uint_eq(nearest_distance("", ""), 0);
	ck_assert_uint_eq(nearest_distance("port", "port"), 0);
	ck_assert_uint_eq(nearest_distance("prot", "port"), 1);
	ck_assert_uint_eq(nearest_distance("por", "port"), 1);
	ck_assert_uint_eq(nearest_distance("poort", "port"), 1);
	ck_assert_uint_eq(nearest_distance("part", "port"), 1);
	ck_assert_uint_eq(nearest_distance("", "port"), 4);
	ck_assert_uint_eq(nearest_distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(nearest_distance("ca", "abc"), 3);
	ck_assert_uint_eq(nearest_distance("0123456789012345678901234567890123456789012345678901234567890123", "x"),
		SIZE_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *t = tcase_create("options");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, the_tables_defaults_are_what_config_h_says);
	tcase_add_test(t, flags_win_over_environment_over_file_over_app_over_table);
	tcase_add_test(t, a_flag_takes_its_value_from_the_same_or_the_next_argument);
	tcase_add_test(t, a_switch_needs_no_value_and_takes_one_behind_an_equals_sign);
	tcase_add_test(t, what_is_a_stall_is_bounded);
	tcase_add_test(t, durations_are_seconds_with_a_fraction_or_milliseconds);
	tcase_add_test(t, sizes_are_bytes_or_powers_of_1024);
	tcase_add_test(t, numbers_out_of_range_and_no_numbers_are_told_apart);
	tcase_add_test(t, choices_are_named_when_none_was_hit);
	tcase_add_test(t, a_model_is_one_of_five);
	tcase_add_test(t, a_model_has_its_own_number_of_loops_unless_it_is_given);
	tcase_add_test(t, a_guard_that_moves_routes_is_for_the_hybrid_model);
	tcase_add_test(t, an_address_is_host_and_port_a_unix_path_or_off);
	tcase_add_test(t, an_unknown_flag_is_answered_with_the_nearest_name);
	tcase_add_test(t, variables_of_offloop_must_be_options_and_others_are_left_alone);
	tcase_add_test(t, a_file_takes_json_of_the_right_types);
	tcase_add_test(t, the_variable_names_the_file_too);
	tcase_add_test(t, a_mistake_in_the_file_is_named_with_its_line);
	tcase_add_test(t, a_file_that_cannot_be_read_is_named);
	tcase_add_test(t, a_wrong_value_is_refused_even_where_it_would_lose);
	tcase_add_test(t, an_apps_options_are_read_like_the_servers);
	tcase_add_test(t, an_app_that_declares_nonsense_is_refused);
	tcase_add_test(t, an_app_built_for_an_older_version_has_zeros_for_what_it_does_not_know);
	tcase_add_test(t, an_app_of_an_impossible_size_is_refused);
	tcase_add_test(t, help_lists_every_option_with_the_default_that_holds);
	tcase_add_test(t, distance_counts_letters_inserted_deleted_changed_and_swapped);
	suite_add_tcase(suite, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
