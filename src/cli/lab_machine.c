/* lab_machine.c: where it is measured: CPUs, limits, and what to say of the machine.
 *
 * Server and load must not take CPU from each other, so with two CPUs or more the first half of those this process may
 * use is the servers', and the rest the load's, which is one thread.  With one they share it, and the report says so.
 *
 * The limit of open files is raised as far as an unprivileged process may, once, before anything is started: servers
 * inherit it.
 *
 * What is told of the machine is what a reader needs to judge numbers: processor, CPUs and quota, kernel, memory, and
 * whether this is a container, for which there is no system call: the usual marks are looked for.
 */
#include "cli/lab.h"
#include "cpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

static void divide(struct lab_machine *m)
{
	unsigned seen = 0;

	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &m->all))
			continue;
		if (!m->split || seen < m->cpus / 2)
			CPU_SET(i, &m->server);
		if (!m->split || seen >= m->cpus / 2)
			CPU_SET(i, &m->load);
		seen++;
	}
}

void lab_cpu_list(const cpu_set_t *set, char *dst, size_t n)
{
	size_t at = 0;

	*dst = 0;
	for (int i = 0; i < CPU_SETSIZE && at < n; i++) {
		int first = i;

		if (!CPU_ISSET(i, set))
			continue;
		while (i + 1 < CPU_SETSIZE && CPU_ISSET(i + 1, set))
			i++;
		at += (size_t)snprintf(dst + at, n - at, first == i ? "%s%d" : "%s%d-%d", at ? "," : "", first, i);
	}
}

static int raise_files(struct lab_machine *m)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return -errno;
	if (r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &r) < 0)
			return -errno;
	}
	m->files = r.rlim_cur > 1000000 ? 1000000 : (unsigned)r.rlim_cur;
	return 0;
}

int lab_machine_init(struct lab_machine *m)
{
	*m = (struct lab_machine){ .cpus = 0 };
	if (sched_getaffinity(0, sizeof(m->all), &m->all) < 0)
		return -errno;
	m->cpus = (unsigned)CPU_COUNT(&m->all);
	m->split = m->cpus > 1;
	divide(m);
	m->server_cpus = (unsigned)CPU_COUNT(&m->server);
	lab_cpu_list(&m->server, m->server_list, sizeof(m->server_list));
	lab_cpu_list(&m->load, m->load_list, sizeof(m->load_list));
	if (sched_setaffinity(0, sizeof(m->load), &m->load) < 0)
		return -errno;
	return raise_files(m);
}

/* The value behind `key` and a colon in a file of /proc. */
static bool find_line(const char *file, const char *key, char *dst, size_t n)
{
	FILE *f = fopen(file, "re");
	char line[512];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, key, strlen(key)) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(dst, n, "%s", colon + 1 + strspn(colon + 1, " \t"));
		found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static bool in_container(void)
{
	static const char *const marks[] = { "/.dockerenv", "/run/.containerenv" };
	char line[512];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (access(marks[i], F_OK) == 0)
			return true;
	return getenv("container") || getenv("KUBERNETES_SERVICE_HOST") ||
		(find_line("/proc/1/cgroup", "", line, sizeof(line)) &&
		(strstr(line, "docker") || strstr(line, "kubepods") || strstr(line, "containerd")));
}

json_t *lab_machine_json(const struct lab_machine *m)
{
	unsigned quota = cpus_quota("");
	char model[256], memory[64] = "";
	struct utsname u;

	if (uname(&u) < 0)
		snprintf(u.release, sizeof(u.release), "unknown");
	if (!find_line("/proc/cpuinfo", "model name", model, sizeof(model)))
		snprintf(model, sizeof(model), "%s", u.machine);
	find_line("/proc/meminfo", "MemTotal", memory, sizeof(memory));
	return json_pack("{s:s, s:i, s:o, s:s, s:s, s:I, s:b, s:i}", "cpu", model, "cpus", (int)m->cpus, "quota",
		quota ? json_real(quota) : json_null(), "kernel", u.release, "architecture", u.machine, "memory_mb",
		(json_int_t)strtoull(memory, NULL, 10) / 1024, "container", in_container(), "files", (int)m->files);
}
