/* json_bench.c: what writing JSON costs, ours against jansson's json_dumpb.
 *
 * Usage: json_bench [seconds per measurement, default 0.3].  Each value is written again and again into the same
 * memory, as a server's exchange would; json_dumpb gets a buffer that is large enough, so that neither side pays for
 * malloc.  The two are measured in turns and the fastest turn of each counts, because a machine that is busy with
 * something else only ever makes a turn slower.
 */
#include "base/clock.h"
#include "json.h"
#include <stdio.h>
#include <stdlib.h>

#define TURNS 7
#define MEMORY (1 << 20)

static char arena_memory[MEMORY], buffer[MEMORY];
static struct arena arena;

static size_t ours(const json_t *v)
{
	struct slice out = { NULL, 0 };

	arena_reset(&arena);
	return json_write(&arena, v, &out) == 0 ? out.n : 0;
}

static size_t theirs(const json_t *v)
{
	return json_dumpb(v, buffer, sizeof(buffer), JSON_COMPACT | JSON_ENCODE_ANY);
}

/* Nanoseconds for one call, measured for about `ns`. */
static double turn(size_t (*write_value)(const json_t *v), const json_t *v, uint64_t ns)
{
	uint64_t start = clock_now_ns(), now;
	long n = 0;

	do {
		for (int i = 0; i < 16; i++)
			if (write_value(v) == 0)
				abort();
		n += 16;
		now = clock_now_ns();
	} while (now - start < ns);
	return (double)(now - start) / (double)n;
}

/* Frees v. */
static void measure(const char *name, json_t *v, uint64_t ns)
{
	double best_ours = 1e18, best_theirs = 1e18;
	size_t n = theirs(v);

	for (int i = 0; i < TURNS; i++) {
		double t = turn(ours, v, ns / TURNS);

		best_ours = t < best_ours ? t : best_ours;
		t = turn(theirs, v, ns / TURNS);
		best_theirs = t < best_theirs ? t : best_theirs;
	}
	printf("%-34s %8zu %12.0f %12.0f %8.1f %10.2f\n", name, n, best_theirs, best_ours, best_theirs / best_ours,
		(double)n / best_ours);
	json_decref(v);
}

static json_t *mixed_objects(int n)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list,
			json_pack("{s:i,s:s,s:s,s:b,s:f,s:n,s:[s,s],s:{s:i,s:s}}", "id", 1000 + i, "name",
				"Ada Lovelace", "email", "ada@example.org", "active", i % 2, "balance", i * 1.37,
				"deleted_at", "tags", "engine", "notes", "address", "number", 12 + i, "street",
				"St James's Square"));
	return list;
}

static json_t *strings(const char *piece, int pieces, int n)
{
	json_t *list = json_array();
	char *text = calloc((size_t)pieces, strlen(piece) + 1);

	if (!text)
		abort();
	for (int i = 0; i < pieces; i++)
		memcpy(text + (size_t)i * strlen(piece), piece, strlen(piece));
	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_string(text));
	free(text);
	return list;
}

static json_t *integers(int n)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_integer((json_int_t)i * i * i - 1000));
	return list;
}

static json_t *reals(double factor, int n)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_real(factor * (i + 1)));
	return list;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.3;
	uint64_t ns = (uint64_t)(seconds * (double)NS_PER_S);

	arena_init(&arena, arena_memory, sizeof(arena_memory));
	printf("%-34s %8s %12s %12s %8s %10s\n", "value", "bytes", "jansson ns", "ours ns", "ratio", "GB/s");
	measure("{\"message\":\"Hello, World!\"}", json_pack("{s:s}", "message", "Hello, World!"), ns);
	measure("100 objects of mixed members", mixed_objects(100), ns);
	measure("10 strings of 10 KiB", strings("The quick brown fox jumps over it. ", 293, 10), ns);
	measure("10 strings with escapes", strings("line one\nline \"two\"\n", 512, 10), ns);
	measure("10 strings of two-byte UTF-8", strings("\xc3\xa9t\xc3\xa9 ", 1700, 10), ns);
	measure("10 strings of three-byte UTF-8", strings("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 1137, 10), ns);
	measure("1000 integers", integers(1000), ns);
	measure("1000 reals", reals(0.1, 1000), ns);
	measure("1000 whole reals", reals(7, 1000), ns);
	measure("1000 reals beyond exact arithmetic", reals(1.1e60, 1000), ns);
	return 0;
}
