/* cpus.h: how many CPUs this process may use. */
#ifndef OL_CPUS_H
#define OL_CPUS_H

/* The lesser of the CPUs in its affinity mask and its cgroup's quota; 1 to 1024.  root: a directory to look for
 * /proc and /sys in, "" but for tests. */
unsigned cpus_allowed(const char *root);

/* The CPUs its cgroup's quota (v1 or v2) is worth, rounded up; 0: there is none. */
unsigned cpus_quota(const char *root);

#endif
