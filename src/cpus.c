/* cpus.c: how many CPUs this process may use.
 *
 * The host's cores are the wrong number for a server in a container: with a quota of two CPUs on a machine of 64, 64
 * loops would be throttled for most of every period.  Three things limit a process: its affinity mask (taskset,
 * cpusets), and the bandwidth quota of its cgroup, in version 2 (`cpu.max`: "max 100000" or "200000 100000", quota and
 * period in microseconds) or version 1 (`cpu.cfs_quota_us`, -1 for none, and `cpu.cfs_period_us`).  Any ancestor's
 * quota counts too, so the path that /proc/self/cgroup gives is walked up to the root, and the least wins.
 *
 * Directories that do not exist are skipped.  That also serves containers without a cgroup namespace, where the path is
 * the host's but the mount shows only the container's own part, as its root.  The hierarchies are looked for where
 * systemd and every container runtime mount them, in /sys/fs/cgroup; mountinfo is not read.
 *
 * A fraction counts as a whole CPU: 1.5 CPUs are used better by two loops than by one.  Whatever cannot be read limits
 * nothing.  Called once at start, on one thread.
 */
#include "cpus.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_LIMIT UINT64_MAX
#define CPUS_MAX 1024

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* CPUs in the affinity mask. */
static uint64_t affinity(void)
{
	for (int max = 1024; max <= 1 << 20; max *= 2) {
		size_t n = CPU_ALLOC_SIZE(max);
		cpu_set_t *set = CPU_ALLOC(max);
		int got = set ? sched_getaffinity(0, n, set) : -1, count = got == 0 ? CPU_COUNT_S(n, set) : 0;
		bool small = set && got < 0 && errno == EINVAL;

		CPU_FREE(set);
		if (count > 0)
			return (uint64_t)count;
		if (!small)     /* EINVAL: the kernel's mask is longer than ours */
			break;
	}
	return 1;
}

/* The first line of root/dir/path/file, without its end; false when there is none. */
static bool first_line(const char *root, const char *dir, const char *path, const char *file, char *line, int n)
{
	char name[4096];
	FILE *f;
	bool got;

	if (snprintf(name, sizeof(name), "%s%s%s/%s", root, dir, path, file) >= (int)sizeof(name) ||
		!(f = fopen(name, "re")))
		return false;
	got = fgets(line, n, f) != NULL;
	fclose(f);
	if (got)
		line[strcspn(line, "\n")] = 0;
	return got;
}

static uint64_t whole_cpus(long long quota, long long period)
{
	if (quota <= 0 || period <= 0)
		return NO_LIMIT;
	return ((uint64_t)quota + (uint64_t)period - 1) / (uint64_t)period;
}

static uint64_t quota_v2(const char *root, const char *dir, const char *path)
{
	long long quota, period;
	char line[128];

	if (!first_line(root, dir, path, "cpu.max", line, sizeof(line)) ||
		sscanf(line, "%lld %lld", &quota, &period) != 2)
		return NO_LIMIT;        /* also "max 100000" */
	return whole_cpus(quota, period);
}

static uint64_t quota_v1(const char *root, const char *dir, const char *path)
{
	char quota[64], period[64];

	if (!first_line(root, dir, path, "cpu.cfs_quota_us", quota, sizeof(quota)) ||
		!first_line(root, dir, path, "cpu.cfs_period_us", period, sizeof(period)))
		return NO_LIMIT;
	return whole_cpus(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

/* The least of what `quota` says along path, a cgroup's, up to the hierarchy's root in dir. */
static uint64_t least_quota(const char *root, const char *dir, const char *path,
	uint64_t (*quota)(const char *root, const char *dir, const char *path))
{
	uint64_t least = NO_LIMIT;
	char at[2048];

	if (snprintf(at, sizeof(at), "%s", strcmp(path, "/") == 0 ? "" : path) >= (int)sizeof(at))
		return least;
	for (;;) {
		char *slash = strrchr(at, '/');

		least = lesser(least, quota(root, dir, at));
		if (!slash)
			return least;
		*slash = 0;
	}
}

static bool lists_cpu(const char *controllers)
{
	for (const char *at = controllers; *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == 3 && memcmp(at, "cpu", 3) == 0)
			return true;
	return false;
}

/* One line of /proc/self/cgroup: "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1 (cgroups(7)). */
static uint64_t line_quota(const char *root, char *line)
{
	char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
	char dir[128];

	if (!path)
		return NO_LIMIT;
	*path++ = 0;
	controllers++;
	if (*controllers == 0)
		return lesser(least_quota(root, "/sys/fs/cgroup", path, quota_v2),
			least_quota(root, "/sys/fs/cgroup/unified", path, quota_v2));
	if (!lists_cpu(controllers) || snprintf(dir, sizeof(dir), "/sys/fs/cgroup/%s", controllers) >= (int)sizeof(dir))
		return NO_LIMIT;
	return lesser(least_quota(root, dir, path, quota_v1), least_quota(root, "/sys/fs/cgroup/cpu", path, quota_v1));
}

unsigned cpus_quota(const char *root)
{
	char name[4096], line[4096];
	uint64_t least = NO_LIMIT;
	FILE *f = NULL;

	if (snprintf(name, sizeof(name), "%s/proc/self/cgroup", root) < (int)sizeof(name))
		f = fopen(name, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		least = lesser(least, line_quota(root, line));
	}
	if (f)
		fclose(f);
	return least == NO_LIMIT ? 0 : (unsigned)lesser(least, CPUS_MAX);
}

unsigned cpus_allowed(const char *root)
{
	unsigned quota = cpus_quota(root);
	uint64_t least = lesser(affinity(), quota ? quota : CPUS_MAX);

	return least ? (unsigned)least : 1;
}
