/* pool_bench.c: what handing a job to a pool thread and back costs.
 *
 * The main thread plays a loop: it keeps `depth` jobs outstanding, splices them once per turn, and sleeps in read(2)
 * of an eventfd.  A job does nothing but push itself on a Treiber list, and writes the eventfd when the loop has said
 * that it sleeps.  All of the pool's threads are up and idle before the clock starts.  Printed per case: CPU time of
 * the whole process per job, context switches per job, jobs per second.  Then the ramp: the time from splicing as many
 * blocking jobs as there are threads until the last of them runs, with threads started for it and with idle ones.  The
 * threads may run on all processors, or all on one, or split: the loop on one and the pool on another.
 *
 * usage: pool_bench [JOBS]        jobs per case, 300000 by default */
#include "pool.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

struct bench_job {
	struct pool_job job;
	struct bench_job *next_done;
};

static struct {
	_Alignas(64) _Atomic(struct bench_job *) done;
	atomic_bool asleep;
	int eventfd;
	pthread_barrier_t all;
} bench;

static void wake_loop(void)
{
	uint64_t one = 1;

	if (write(bench.eventfd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void run_trivial(struct pool_job *job)
{
	struct bench_job *b = (struct bench_job *)job, *head = atomic_load_explicit(&bench.done, memory_order_relaxed);

	do
		b->next_done = head;
	while (!atomic_compare_exchange_weak(&bench.done, &head, b));
	/* Sequentially consistent, as is the loop's side: one of the two sees what the other wrote. */
	if (atomic_load(&bench.asleep) && atomic_exchange(&bench.asleep, false))
		wake_loop();
}

static void run_barrier(struct pool_job *job)
{
	(void)job;
	pthread_barrier_wait(&bench.all);
}

/* The finished jobs; sleeps until there are some. */
static struct bench_job *collect(void)
{
	for (;;) {
		struct bench_job *done = atomic_exchange(&bench.done, NULL);
		uint64_t count;

		if (done != NULL)
			return done;
		atomic_store(&bench.asleep, true);
		if (atomic_load(&bench.done) != NULL && atomic_exchange(&bench.asleep, false))
			continue;
		if (read(bench.eventfd, &count, sizeof(count)) != sizeof(count))
			abort();
	}
}

/* Occupies all threads at once; the time until they were. */
static uint64_t fill(struct pool *p, unsigned threads)
{
	struct pool_job *jobs = calloc(threads, sizeof(*jobs));
	struct pool_batch batch = { 0 };
	struct pool_stats s;
	uint64_t start;

	pthread_barrier_init(&bench.all, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++) {
		jobs[i].run = run_barrier;
		jobs[i].tag = 1;
		if (!pool_admit(p))
			abort();
		pool_batch_add(&batch, &jobs[i]);
	}
	start = clock_now_ns();
	pool_splice(p, &batch);
	pthread_barrier_wait(&bench.all);
	start = clock_now_ns() - start;

	do {
		sched_yield();
		pool_stats(p, &s);
	} while (s.idle < threads);
	pthread_barrier_destroy(&bench.all);
	free(jobs);
	return start;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void measure(struct pool *p, unsigned depth, unsigned long total)
{
	struct bench_job *jobs = calloc(depth, sizeof(*jobs));
	struct pool_batch batch = { 0 };
	unsigned long submitted = 0, finished = 0, turns = 0;
	struct rusage before, after;
	uint64_t start;
	double cpu, switches, wall;

	getrusage(RUSAGE_SELF, &before);
	start = clock_now_ns();
	for (; submitted < depth; submitted++) {
		jobs[submitted].job.run = run_trivial;
		if (!pool_admit(p))
			abort();
		pool_batch_add(&batch, &jobs[submitted].job);
	}
	pool_splice(p, &batch);
	while (finished < total) {
		struct bench_job *done = collect();

		turns++;
		while (done != NULL) {
			struct bench_job *b = done;

			done = done->next_done;
			finished++;
			if (submitted == total)
				continue;
			while (!pool_admit(p))
				sched_yield();
			submitted++;
			pool_batch_add(&batch, &b->job);
		}
		pool_splice(p, &batch);
	}
	wall = (double)(clock_now_ns() - start) / 1e9;
	getrusage(RUSAGE_SELF, &after);

	cpu = seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) - seconds(before.ru_stime);
	switches = (double)(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw);
	printf("%10.3f %12.3f %12.1f %12.0f", cpu * 1e6 / (double)total, switches / (double)total,
	       (double)total / (double)turns, (double)total / wall);
	free(jobs);
}

enum placement { ALL, ONE, SPLIT, PLACEMENTS };

struct processors {
	cpu_set_t all, one, other;
	enum placement use;
};

static void place_worker(void *arg, const struct work_line *line)
{
	struct processors *cpus = arg;

	(void)line;
	if (cpus->use == SPLIT && sched_setaffinity(0, sizeof(cpus->other), &cpus->other) != 0)
		abort();
}

static void bench_case(struct processors *cpus, unsigned threads, unsigned depth, unsigned long total)
{
	static const char *const names[] = { "all", "one", "split" };
	struct pool *p = pool_new(&(struct pool_conf){ .name = "bench", .threads = threads, .queue = 2 * depth,
		.tags = 2, .thread_start = place_worker, .arg = cpus });
	uint64_t cold, warm;

	if (p == NULL)
		abort();
	cold = fill(p, threads);
	warm = fill(p, threads);
	printf("%-6s %7u %5u ", names[cpus->use], threads, depth);
	measure(p, depth, total);
	printf(" %10" PRIu64 " %10" PRIu64 "\n", cold / NS_PER_US, warm / NS_PER_US);
	pool_free(p);
}

/* False: there is only one processor. */
static bool find_processors(struct processors *cpus)
{
	int here = sched_getcpu(), other = 0;

	if (here < 0 || sched_getaffinity(0, sizeof(cpus->all), &cpus->all) != 0)
		return false;
	while (other < CPU_SETSIZE && (other == here || !CPU_ISSET(other, &cpus->all)))
		other++;
	if (other == CPU_SETSIZE)
		return false;
	CPU_ZERO(&cpus->one);
	CPU_SET(here, &cpus->one);
	CPU_ZERO(&cpus->other);
	CPU_SET(other, &cpus->other);
	return true;
}

int main(int argc, char **argv)
{
	static const unsigned threads[] = { 1, 4, 40 }, depths[] = { 1, 64 };
	unsigned long total = argc > 1 ? strtoul(argv[1], NULL, 10) : 300000;
	struct processors cpus;

	bench.eventfd = eventfd(0, EFD_CLOEXEC);
	if (bench.eventfd < 0 || total == 0)
		return 1;
	if (!find_processors(&cpus)) {
		fprintf(stderr, "pool_bench: needs two processors\n");
		return 1;
	}

	printf("%-6s %7s %5s %10s %12s %12s %12s %10s %10s\n", "cpus", "threads", "depth", "cpu_us/job", "switches/job",
	       "jobs/turn", "jobs/s", "start_us", "wake_us");
	for (cpus.use = ALL; cpus.use < PLACEMENTS; cpus.use++) {
		if (sched_setaffinity(0, sizeof(cpus.all), cpus.use == ALL ? &cpus.all : &cpus.one) != 0)
			return 1;
		for (size_t d = 0; d < 2; d++)
			for (size_t t = 0; t < 3; t++)
				bench_case(&cpus, threads[t], depths[d], depths[d] == 1 ? total / 3 + 1 : total);
	}
	return 0;
}
