/* http1_scan.c: finds where a run of allowed bytes ends.
 *
 * All of HTTP's syntax that a parser meets is runs of bytes of some set, ended by one byte outside it.  A set is given
 * by two tables of sixteen bytes: one looked up by the low four bits of a byte, the other by the high four; the byte is
 * in the set when the two have a bit in common (Lemire and Mula describe the method for UTF-8 and base64).  A vector
 * shuffle does sixteen or thirty-two such look-ups at once, and the scalar code does the same with two loads, so one
 * definition of each set serves every implementation.  The tables are worked out by the compiler from predicates that
 * read like the RFCs.
 *
 * A byte below 0x80 has its own bit per row: lo[l] has bit h set when (h << 4 | l) is in the set, hi[h] is 1 << h.
 * Bytes from 0x80 on (obs-text) stand or fall together: hi[8] to hi[15] are 0, or the bit of row 2, which is full in
 * scan_value.
 *
 * Nothing is read past the end of the slice, nor before its start: the last, partial vector is loaded so that it ends
 * where the slice ends, and the bytes that were seen before are shifted out.  Only slices shorter than a vector go byte
 * by byte.
 *
 * The implementation is picked anew at each call of scan_best from what the processor says, which costs a load and a
 * test; so there is no state but the override for tests.  Any thread.
 */
#include "http1_scan.h"
#include "http1.h"

#if defined(__x86_64__) || defined(__i386__)
#define SCAN_X86 1
#include <immintrin.h>
#elif defined(__aarch64__)
#define SCAN_NEON 1
#include <arm_neon.h>
#endif

/* ---- the sets ---------------------------------------------------------------------------------------------------- */

#define BETWEEN(c, a, z) ((c) >= (a) && (c) <= (z))
#define ALNUM(c) (BETWEEN(c, '0', '9') || BETWEEN(c, 'A', 'Z') || BETWEEN(c, 'a', 'z'))
#define UNRESERVED(c) (ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define SUB_DELIMS(c) ((c) == '!' || (c) == '$' || BETWEEN(c, '&', ',') || (c) == ';' || (c) == '=')

#define TOKEN(c) (ALNUM(c) || (c) == '!' || BETWEEN(c, '#', '\'') || (c) == '*' || (c) == '+' || (c) == '-' \
	|| (c) == '.' || BETWEEN(c, '^', '`') || (c) == '|' || (c) == '~')
#define VALUE(c) ((c) == '\t' || BETWEEN(c, ' ', '~'))
#define PATH(c) ((UNRESERVED(c) && (c) != '.') || SUB_DELIMS(c) || (c) == ':' || (c) == '@' || (c) == '/')
#define QUERY(c) (PATH(c) || (c) == '.' || (c) == '?' || BETWEEN(c, '[', '^') || (c) == '`' || BETWEEN(c, '{', '}'))
#define HOST(c) (UNRESERVED(c) || SUB_DELIMS(c))

#define ROW(set, l) (set(0x00 + (l)) << 0 | set(0x10 + (l)) << 1 | set(0x20 + (l)) << 2 | set(0x30 + (l)) << 3 \
	| set(0x40 + (l)) << 4 | set(0x50 + (l)) << 5 | set(0x60 + (l)) << 6 | set(0x70 + (l)) << 7)
#define CLASS(set, above) { \
	.lo = { ROW(set, 0), ROW(set, 1), ROW(set, 2), ROW(set, 3), ROW(set, 4), ROW(set, 5), ROW(set, 6), \
		ROW(set, 7), ROW(set, 8), ROW(set, 9), ROW(set, 10), ROW(set, 11), ROW(set, 12), ROW(set, 13), \
		ROW(set, 14), ROW(set, 15) }, \
	.hi = { 1, 2, 4, 8, 16, 32, 64, 128, above, above, above, above, above, above, above, above } }

const struct scan_class scan_token = CLASS(TOKEN, 0);
const struct scan_class scan_value = CLASS(VALUE, 1 << 2);
const struct scan_class scan_path = CLASS(PATH, 0);
const struct scan_class scan_query = CLASS(QUERY, 0);
const struct scan_class scan_host = CLASS(HOST, 0);

/* ---- byte by byte ------------------------------------------------------------------------------------------------ */

static inline size_t past_bytes(const struct scan_class *c, const char *p, size_t at, size_t end)
{
	while (at < end && (c->lo[p[at] & 15] & c->hi[(uint8_t)p[at] >> 4]) != 0)
		at++;
	return at;
}

static size_t past_scalar(const struct scan_class *c, const char *p, size_t at, size_t end)
{
	return past_bytes(c, p, at, end);
}

static size_t field_scalar(const char *p, size_t at, size_t end, size_t *colon)
{
	at = *colon = past_bytes(&scan_token, p, at, end);
	return at < end && p[at] == ':' ? past_bytes(&scan_value, p, at + 1, end) : at;
}

static const struct scan scalar = { "scalar", past_scalar, field_scalar };

/* ---- a vector at a time ------------------------------------------------------------------------------------------ */

#if defined(SCAN_X86) || defined(SCAN_NEON)

/* For `width` bytes at p: a mask whose lowest set bit, divided by 2 to the `shift`, is the first byte outside the
 * class.  The two functions below are inlined into each implementation, and with them its mask function, so that the
 * tables stay in registers. */
typedef uint64_t mask_fn(const struct scan_class *c, const char *p);

#define INLINE static inline __attribute__((always_inline))

INLINE size_t past_wide(mask_fn *mask, unsigned width, unsigned shift, const struct scan_class *c, const char *p,
	size_t at, size_t end)
{
	uint64_t bits;

	for (; end - at >= width; at += width)
		if ((bits = mask(c, p + at)) != 0)
			return at + ((unsigned)__builtin_ctzll(bits) >> shift);
	if (at == end)
		return end;
	if (end < width)
		return past_bytes(c, p, at, end);
	bits = mask(c, p + end - width) >> ((width - (end - at)) << shift);
	return bits ? at + ((unsigned)__builtin_ctzll(bits) >> shift) : end;
}

/* Most fields fit into the first vector: both sets are looked up in it at once, not one after the other. */
INLINE size_t field_wide(mask_fn *mask, unsigned width, unsigned shift, const char *p, size_t at, size_t end,
	size_t *colon)
{
	uint64_t name = 0, value = 0;

	if (end - at >= width) {
		name = mask(&scan_token, p + at);
		value = mask(&scan_value, p + at);
	}
	if (name) {
		unsigned bit = (unsigned)__builtin_ctzll(name);

		*colon = at + (bit >> shift);
		if (p[*colon] != ':')
			return *colon;
		value >>= bit;
		if (value)
			return *colon + ((unsigned)__builtin_ctzll(value) >> shift);
		return past_wide(mask, width, shift, &scan_value, p, at + width, end);
	}
	at = *colon = past_wide(mask, width, shift, &scan_token, p, at, end);
	return at < end && p[at] == ':' ? past_wide(mask, width, shift, &scan_value, p, at + 1, end) : at;
}

#endif

#ifdef SCAN_X86

#define SSE __attribute__((target("sse4.2")))
#define AVX2 __attribute__((target("avx2")))

SSE static inline uint64_t mask_sse(const struct scan_class *c, const char *p)
{
	const __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)c->lo);
	const __m128i hi = _mm_loadu_si128((const __m128i *)(const void *)c->hi);
	const __m128i nibble = _mm_set1_epi8(15);
	__m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i l = _mm_shuffle_epi8(lo, _mm_and_si128(b, nibble));
	__m128i h = _mm_shuffle_epi8(hi, _mm_and_si128(_mm_srli_epi16(b, 4), nibble));

	return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(l, h), _mm_setzero_si128()));
}

SSE static size_t past_sse(const struct scan_class *c, const char *p, size_t at, size_t end)
{
	return past_wide(mask_sse, 16, 0, c, p, at, end);
}

SSE static size_t field_sse(const char *p, size_t at, size_t end, size_t *colon)
{
	return field_wide(mask_sse, 16, 0, p, at, end, colon);
}

AVX2 static inline uint64_t mask_avx2(const struct scan_class *c, const char *p)
{
	const __m256i lo = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)c->lo));
	const __m256i hi = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)c->hi));
	const __m256i nibble = _mm256_set1_epi8(15);
	__m256i b = _mm256_loadu_si256((const __m256i *)(const void *)p);
	__m256i l = _mm256_shuffle_epi8(lo, _mm256_and_si256(b, nibble));
	__m256i h = _mm256_shuffle_epi8(hi, _mm256_and_si256(_mm256_srli_epi16(b, 4), nibble));

	return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(l, h), _mm256_setzero_si256()));
}

AVX2 static size_t past_avx2(const struct scan_class *c, const char *p, size_t at, size_t end)
{
	return past_wide(mask_avx2, 32, 0, c, p, at, end);
}

AVX2 static size_t field_avx2(const char *p, size_t at, size_t end, size_t *colon)
{
	return field_wide(mask_avx2, 32, 0, p, at, end, colon);
}

static const struct scan sse = { "sse4.2", past_sse, field_sse };
static const struct scan avx2 = { "avx2", past_avx2, field_avx2 };

static inline const struct scan *best(void)
{
	if (__builtin_cpu_supports("avx2"))
		return &avx2;
	return __builtin_cpu_supports("sse4.2") ? &sse : &scalar;
}

#elif defined(SCAN_NEON)

/* NEON is part of every aarch64.  It has no movemask; narrowing pairs of bytes by four bits leaves four bits each. */
static inline uint64_t mask_neon(const struct scan_class *c, const char *p)
{
	uint8x16_t b = vld1q_u8((const uint8_t *)p);
	uint8x16_t l = vqtbl1q_u8(vld1q_u8(c->lo), vandq_u8(b, vdupq_n_u8(15)));
	uint8x16_t h = vqtbl1q_u8(vld1q_u8(c->hi), vshrq_n_u8(b, 4));
	uint8x16_t outside = vceqzq_u8(vandq_u8(l, h));

	return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(outside), 4)), 0);
}

static size_t past_neon(const struct scan_class *c, const char *p, size_t at, size_t end)
{
	return past_wide(mask_neon, 16, 2, c, p, at, end);
}

static size_t field_neon(const char *p, size_t at, size_t end, size_t *colon)
{
	return field_wide(mask_neon, 16, 2, p, at, end, colon);
}

static const struct scan neon = { "neon", past_neon, field_neon };

static inline const struct scan *best(void)
{
	return &neon;
}

#else

static inline const struct scan *best(void)
{
	return &scalar;
}

#endif

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static bool scalar_only;    /* for tests; see http1_scan_select */

void http1_scan_select(enum http1_scan which)
{
	scalar_only = which == HTTP1_SCAN_SCALAR;
}

const struct scan *scan_best(void)
{
	return __builtin_expect(scalar_only, 0) ? &scalar : best();
}

const struct scan *scan_at(unsigned i)
{
	const struct scan *list[4] = { best() };
	unsigned n = 1;

#ifdef SCAN_X86
	if (list[0] == &avx2)
		list[n++] = &sse;
#endif
	if (list[0] != &scalar)
		list[n++] = &scalar;
	return i < n ? list[i] : NULL;
}
