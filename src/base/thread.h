/* thread.h: claims about locks that clang proves (`clang -Wthread-safety`); comments under other compilers.
 *
 * In C a member's claim cannot name the mutex beside it, so what guards is a role: one name for each kind of lock,
 * which exists for the compiler only.  The two functions that lock and unlock that kind take and leave the role
 * (UNCHECKED, for their bodies speak to pthreads); all other code is checked.  Claims of functions stand on
 * prototypes: gcc has no place for them on a definition.
 *
 *	LOCK_ROLE(pool_role);
 *	struct pool { pthread_mutex_t mutex; unsigned queued GUARDED_BY(pool_role); };
 *	static void lock(struct pool *p) ACQUIRES(pool_role);
 *	static void unlock(struct pool *p) RELEASES(pool_role);
 *	static struct pool_job *take(struct pool *p) REQUIRES(pool_role);
 */
#ifndef OL_THREAD_H
#define OL_THREAD_H

#ifdef __clang__
#define THREAD_CLAIM_(claim) __attribute__((claim))
#else
#define THREAD_CLAIM_(claim)
#endif

struct THREAD_CLAIM_(capability("lock")) lock_role {
	char unused;
};
#define LOCK_ROLE(name) extern struct lock_role name                    /* never defined: only claims name it */

#define GUARDED_BY(role) THREAD_CLAIM_(guarded_by(role))                /* a member: touched only under the lock */
#define REQUIRES(role) THREAD_CLAIM_(requires_capability(role))         /* a function: called and left with it held */
#define ACQUIRES(role) THREAD_CLAIM_(acquire_capability(role))          /* called without it, left with it */
#define RELEASES(role) THREAD_CLAIM_(release_capability(role))          /* called with it, left without it */
#define EXCLUDES(role) THREAD_CLAIM_(locks_excluded(role))              /* called without it: it is taken inside */
#define UNCHECKED THREAD_CLAIM_(no_thread_safety_analysis)              /* the body is not looked at */

#endif
