/* probe.h: static probes (USDT) for bpftrace, perf and SystemTap; nothing at all where <sys/sdt.h> is missing.
 *
 * A probe that nobody looks at is one `nop` and a note in the file; its arguments are what the code around it has at
 * hand.  They are listed in offloop(1), PROBES.
 */
#ifndef OL_PROBE_H
#define OL_PROBE_H

#ifdef OL_USDT
#ifdef __clang__ /* the header's macros need that wherever they are used */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#include <sys/sdt.h>
#define PROBE2(name, a, b) DTRACE_PROBE2(offloop, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(offloop, name, a, b, c)
#else
#define PROBE2(name, a, b) ((void)0)
#define PROBE3(name, a, b, c) ((void)0)
#endif

#endif
