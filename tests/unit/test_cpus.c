/* test_cpus.c: affinity and cgroup quotas, read from a made-up root directory. */
#include "cpus.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/test_cpus.XXXXXX";

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void set_up(void)
{
	memcpy(root + sizeof(root) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void tear_down(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Makes root/path with its directories. */
static void put(const char *path, const char *text)
{
	char name[512];
	FILE *f;

	snprintf(name, sizeof(name), "%s/%s", root, path);
	for (char *slash = strchr(name + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		ck_assert(mkdir(name, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	f = fopen(name, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(without_cgroup_files_there_is_no_quota)
{
	ck_assert_uint_eq(cpus_quota(root), 0);
	ck_assert_uint_ge(cpus_allowed(root), 1);
}
END_TEST

START_TEST(a_quota_of_max_is_none)
{
	put("proc/self/cgroup", "0::/a\n");
	put("sys/fs/cgroup/a/cpu.max", "max 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 0);
}
END_TEST

START_TEST(a_fraction_of_a_cpu_counts_as_a_whole_one)
{
	put("proc/self/cgroup", "0::/a\n");
	put("sys/fs/cgroup/a/cpu.max", "350000 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 4);
	put("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 3);
	put("sys/fs/cgroup/a/cpu.max", "1000 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 1);
	ck_assert_uint_eq(cpus_allowed(root), 1);
}
END_TEST

START_TEST(the_least_quota_on_the_way_to_the_root_wins)
{
	put("proc/self/cgroup", "0::/a/b/c\n");
	put("sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
	put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	put("sys/fs/cgroup/a/cpu.max", "500000 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 5);
	put("sys/fs/cgroup/cpu.max", "100000 50000\n");
	ck_assert_uint_eq(cpus_quota(root), 2);
}
END_TEST

START_TEST(a_path_that_the_mount_does_not_show_leaves_the_mounts_root)
{
	put("proc/self/cgroup", "0::/docker/0123456789abcdef\n");
	put("sys/fs/cgroup/cpu.max", "300000 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 3);
}
END_TEST

START_TEST(a_process_at_the_root_has_the_roots_quota)
{
	put("proc/self/cgroup", "0::/\n");
	put("sys/fs/cgroup/cpu.max", "300000 100000\n");
	ck_assert_uint_eq(cpus_quota(root), 3);
}
END_TEST

START_TEST(version_1_is_read_where_its_controllers_are_mounted)
{
	put("proc/self/cgroup", "12:memory:/m\n4:cpu,cpuacct:/a/b\n1:name=systemd:/x\n0::/x\n");
	put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
	put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
	ck_assert_uint_eq(cpus_quota(root), 0);
	put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "610000\n");
	put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
	ck_assert_uint_eq(cpus_quota(root), 7);
	put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "500000\n");
	put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
	ck_assert_uint_eq(cpus_quota(root), 5);
}
END_TEST

START_TEST(controllers_that_only_begin_like_cpu_do_not_count)
{
	put("proc/self/cgroup", "3:cpuset:/a\n");
	put("sys/fs/cgroup/cpuset/a/cpu.cfs_quota_us", "100000\n");
	put("sys/fs/cgroup/cpuset/a/cpu.cfs_period_us", "100000\n");
	ck_assert_uint_eq(cpus_quota(root), 0);
}
END_TEST

START_TEST(nonsense_in_the_files_limits_nothing)
{
	static const char *const lines[] = { "", "\n", "x", "0", "-5 100000", "100000 0", "100000", "1 -1" };

	put("proc/self/cgroup", "nonsense\n0:\n0::/a\n");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		put("sys/fs/cgroup/a/cpu.max", lines[i]);
		ck_assert_uint_eq(cpus_quota(root), 0);
	}
}
END_TEST

START_TEST(the_affinity_mask_bounds_a_larger_quota)
{
	cpu_set_t old, one;
	int cpu = 0;

	put("proc/self/cgroup", "0::/\n");
	put("sys/fs/cgroup/cpu.max", "300000 100000\n");
	ck_assert_int_eq(sched_getaffinity(0, sizeof(old), &old), 0);
	ck_assert_uint_eq(cpus_allowed(root), CPU_COUNT(&old) < 3 ? (unsigned)CPU_COUNT(&old) : 3);
	while (!CPU_ISSET(cpu, &old))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_uint_eq(cpus_allowed(root), 1);
	sched_setaffinity(0, sizeof(old), &old);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cpus");
	TCase *t = tcase_create("quotas");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, without_cgroup_files_there_is_no_quota);
	tcase_add_test(t, a_quota_of_max_is_none);
	tcase_add_test(t, a_fraction_of_a_cpu_counts_as_a_whole_one);
	tcase_add_test(t, the_least_quota_on_the_way_to_the_root_wins);
	tcase_add_test(t, a_path_that_the_mount_does_not_show_leaves_the_mounts_root);
	tcase_add_test(t, a_process_at_the_root_has_the_roots_quota);
	tcase_add_test(t, version_1_is_read_where_its_controllers_are_mounted);
	tcase_add_test(t, controllers_that_only_begin_like_cpu_do_not_count);
	tcase_add_test(t, nonsense_in_the_files_limits_nothing);
	tcase_add_test(t, the_affinity_mask_bounds_a_larger_quota);
	suite_add_tcase(suite, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
