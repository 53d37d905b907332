/* json_write.c: jansson's values written as compact JSON text, byte for byte as json_dumpb would, but for reals.
 *
 * jansson writes through a callback, one call per piece, looks at strings a character at a time, formats numbers with
 * snprintf and keeps a hash table of open containers to find cycles.  Here the text grows in one piece of the arena: it
 * first takes what is left of the present block, doubles when that is full, and gives back the rest at the end, so that
 * a small reply costs no allocation of its own.  Cycles are found by the depth limit.  The way back up is an array of
 * 64 frames instead of recursion, because this runs on a fiber's stack.
 *
 * Strings are copied 16 or 8 bytes at a time while they are looked at; what needs an escape ends the run.  The one
 * invariant: inside a string there is always room for the bytes that are still to be read plus the closing quote, so
 * that only an escape has to ask for room.
 *
 * Reals have the fewest digits that read back as the same number, so that 0.1 is 0.1 (jansson up to 2.14 always writes
 * 17, as "%.17g" gives; later versions the fewest, too).  15 are tried, then 16; 17 always do.  For magnitudes from
 * about 1e-11 to 1e43 all of the arithmetic fits in 128 bits and is exact: m * 2^e * 10^k is an integer, or one shift
 * or division away from it, rounding to even is decided by the remainder, and a decimal reads back if it is off by less
 * than half of the last bit.  Others come from snprintf and strtod, of whose text only the digits are used, so that the
 * locale's decimal point does not matter.
 *
 * Pure functions of their arguments, on any thread that owns the value.  Not done: indentation, sorted keys, ASCII-only
 * text.
 */
#include "json.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define ROOM_MIN 256    /* bytes to start with when the arena's block has fewer left */
#define NUMBER_MAX 32   /* an integer takes at most 20, a real 24 */

/* The text so far is start..at; the allocation ends at end. */
struct writer {
	struct arena *arena;
	char *start, *at, *end;
};

/* ---- room -------------------------------------------------------------------------------------------------------- */

static int writer_init(struct writer *w, struct arena *a)
{
	size_t room = (size_t)(a->end - a->at) & ~(size_t)15;

	if (room < ROOM_MIN)
		room = 2 * ROOM_MIN;
	w->arena = a;
	w->start = w->at = arena_alloc(a, room);
	if (!w->start)
		return -ENOMEM;
	w->end = w->start + room;
	return 0;
}

/* Keeps the first n bytes and gives the others back. */
static void writer_cut(struct writer *w, size_t n)
{
	if (arena_resize_last(w->arena, w->start, (size_t)(w->end - w->start), n))
		w->end = w->start + n;
}

__attribute__((noinline)) static int grow(struct writer *w, size_t n)
{
	size_t used = (size_t)(w->at - w->start), old = (size_t)(w->end - w->start), room = old * 2;
	char *p;

	if (n > SIZE_MAX / 4 || old > SIZE_MAX / 4)
		return -ENOMEM;
	if (room < used + n)
		room = used + n;
	if (!arena_resize_last(w->arena, w->start, old, room)) {
		p = arena_alloc(w->arena, room);
		if (!p)
			return -ENOMEM;
		w->start = memcpy(p, w->start, used);
		w->at = p + used;
	}
	w->end = w->start + room;
	return 0;
}

/* Makes room for n more bytes. */
static inline int reserve(struct writer *w, size_t n)
{
	return __builtin_expect((size_t)(w->end - w->at) < n, 0) ? grow(w, n) : 0;
}

static inline int put(struct writer *w, const char *p, size_t n)
{
	if (reserve(w, n) != 0)
		return -ENOMEM;
	memcpy(w->at, p, n);
	w->at += n;
	return 0;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* ASCII that stands for itself in a JSON string. */
static inline bool plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Whether all 8 bytes are plain.  Each difference has a byte's high bit set if that byte is what is looked for; a
 * borrow can set others too, but only above a byte that is. */
static inline bool plain8(uint64_t w)
{
	uint64_t low = w - EACH_BYTE(0x20), quote = (w ^ EACH_BYTE('"')) - EACH_BYTE(1),
		 backslash = (w ^ EACH_BYTE('\\')) - EACH_BYTE(1);

	return ((w | low | quote | backslash) & EACH_BYTE(0x80)) == 0;
}

static inline bool copy8(char *dst, const char *s)
{
	uint64_t w;

	memcpy(&w, s, 8);
	memcpy(dst, &w, 8);
	return plain8(w);
}

static inline bool copy_ends4(char *dst, const char *s, size_t n)
{
	uint32_t first, last;

	memcpy(&first, s, 4);
	memcpy(&last, s + n - 4, 4);
	memcpy(dst, &first, 4);
	memcpy(dst + n - 4, &last, 4);
	return plain8((uint64_t)last << 32 | first);
}

/* Copies plain bytes from the start of s; how many.  dst has room for n bytes and may be written up to there. */
static inline size_t copy_plain(char *dst, const char *s, size_t n)
{
	size_t i = 0;

#ifdef __SSE2__
	for (; n - i >= 16; i += 16) {
		__m128i c = _mm_loadu_si128((const __m128i *)(const void *)(s + i));
		/* signed: bytes from 0x80 are below 0x20 too */
		__m128i other = _mm_or_si128(_mm_cmplt_epi8(c, _mm_set1_epi8(0x20)),
			_mm_or_si128(_mm_cmpeq_epi8(c, _mm_set1_epi8('"')), _mm_cmpeq_epi8(c, _mm_set1_epi8('\\'))));
		int mask = _mm_movemask_epi8(other);

		_mm_storeu_si128((__m128i *)(void *)(dst + i), c);
		if (mask)
			return i + (size_t)__builtin_ctz((unsigned)mask);
	}
#endif
	while (n - i >= 8 && copy8(dst + i, s + i))
		i += 8;
	/* What is left is shorter than a word: take it with bytes before it that have been seen, if it is plain. */
	if (n >= 8 && n - i < 8 && copy8(dst + n - 8, s + n - 8))
		return n;
	if (n >= 4 && n < 8 && copy_ends4(dst, s, n))
		return n;
	for (; i < n && plain((unsigned char)s[i]); i++)
		dst[i] = s[i];
	return i;
}

static inline bool within(char c, unsigned char low, unsigned char high)
{
	return (unsigned char)c >= low && (unsigned char)c <= high;
}

/* Length of the well-formed UTF-8 sequence of two to four bytes (Unicode 15, table 3-7) at s; 0: malformed. */
static inline size_t utf8_sequence(const char *s, size_t n)
{
	unsigned char c = (unsigned char)s[0];

	if (within(s[0], 0xc2, 0xdf))
		return n >= 2 && within(s[1], 0x80, 0xbf) ? 2 : 0;
	if (within(s[0], 0xe0, 0xef))
		return n >= 3 && within(s[1], c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf) &&
			within(s[2], 0x80, 0xbf) ? 3 : 0;
	if (within(s[0], 0xf0, 0xf4))
		return n >= 4 && within(s[1], c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf) &&
			within(s[2], 0x80, 0xbf) && within(s[3], 0x80, 0xbf) ? 4 : 0;
	return 0;
}

static inline void copy_few(char *dst, const char *s, size_t n)
{
	while (n-- > 0)
		*dst++ = *s++;
}

/* Copies plain bytes and well-formed UTF-8 from the start of s; how many.  dst as above.  Behind the first byte that is
 * not ASCII there are likely to be more, so the next 32 are taken one character at a time. */
static inline size_t copy_text(char *dst, const char *s, size_t n)
{
	size_t i = copy_plain(dst, s, n);

	while (i < n) {
		size_t stop = n - i < 32 ? n : i + 32;

		while (i < stop) {
			size_t length = 1;

			if (!plain((unsigned char)s[i]))
				length = (unsigned char)s[i] >= 0x80 ? utf8_sequence(s + i, n - i) : 0;
			if (length == 0)
				return i;
			if (n - i >= 4)
				memcpy(dst + i, s + i, 4); /* cheaper than as many as it has */
			else
				copy_few(dst + i, s + i, length);
			i += length;
		}
		i += copy_plain(dst + i, s + i, n - i);
	}
	return i;
}

/* Writes the escape of an ASCII character that is not plain, at most 6 bytes; where it ends. */
static char *put_escape(char *dst, char c)
{
	static const char letters[0x20] = { ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't' };
	char letter = (unsigned char)c < 0x20 ? letters[(unsigned char)c] : c;

	*dst++ = '\\';
	if (letter) {
		*dst++ = letter;
		return dst;
	}
	memcpy(dst, "u00", 3);
	dst[3] = "01"[c >> 4];
	dst[4] = "0123456789ABCDEF"[c & 15];
	return dst + 5;
}

static int put_string(struct writer *w, const char *s, size_t n)
{
	if (reserve(w, n + 2) != 0)
		return -ENOMEM;
	*w->at++ = '"';
	for (;;) {
		size_t run = copy_text(w->at, s, n);

		w->at += run;
		s += run;
		n -= run;
		if (n == 0)
			break;
		if ((unsigned char)*s >= 0x80)
			return -EINVAL;
		if (reserve(w, n + 6) != 0) /* 6 for this one, n - 1 for the others, 1 for the quote */
			return -ENOMEM;
		w->at = put_escape(w->at, *s++);
		n--;
	}
	*w->at++ = '"';
	return 0;
}

size_t json_quote(char *dst, struct slice s)
{
	char *at = dst;
	size_t i = 0;

	*at++ = '"';
	while (i < s.n) {
		size_t run = copy_text(at, s.p + i, s.n - i);

		at += run;
		i += run;
		if (i == s.n)
			break;
		if ((unsigned char)s.p[i] < 0x80) {
			at = put_escape(at, s.p[i]);
		} else {
			memcpy(at, "\xef\xbf\xbd", 3);
			at += 3;
		}
		i++;
	}
	*at++ = '"';
	return (size_t)(at - dst);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static const char pairs[] =
	"00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
	"555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* Writes exactly n digits of v, with leading zeros. */
static void put_digits(char *dst, uint64_t v, size_t n)
{
	while (n >= 2) {
		n -= 2;
		memcpy(dst + n, pairs + v % 100 * 2, 2);
		v /= 100;
	}
	if (n)
		*dst = (char)('0' + v % 10);
}

static size_t count_digits(uint64_t v)
{
	size_t n = 1;

	for (; v >= 10000; v /= 10000)
		n += 4;
	return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

static char *put_uint(char *dst, uint64_t v)
{
	size_t n = count_digits(v);

	put_digits(dst, v, n);
	return dst + n;
}

static int put_integer(struct writer *w, int64_t v)
{
	if (reserve(w, NUMBER_MAX) != 0)
		return -ENOMEM;
	if (v < 0)
		*w->at++ = '-';
	w->at = put_uint(w->at, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
	return 0;
}

#define PRECISION 17            /* of them always read back */
#define PRECISION_SURE 15       /* of them read back as themselves, so no fewer need be tried */

/* A number as d.ddd * 10^exponent. */
struct decimal {
	char digits[PRECISION];
	int exponent;
};

__extension__ typedef unsigned __int128 uint128;

/* A number v as q + rest / unit, with q of 17 digits; all of it times 10^k. */
struct scaled {
	uint64_t q;
	uint128 rest, unit;
	uint128 bit;                    /* the last bit of v, times unit */
	bool even, lowest;              /* v's mantissa is; v is a power of 2, and doubles below lie twice as close */
};

#define POW5_MAX 27     /* the greatest power of 5 below 2^64 */

static uint64_t pow5(int n)
{
	static const uint64_t table[POW5_MAX + 1] = {
		UINT64_C(1), UINT64_C(5), UINT64_C(25), UINT64_C(125), UINT64_C(625), UINT64_C(3125), UINT64_C(15625),
		UINT64_C(78125), UINT64_C(390625), UINT64_C(1953125), UINT64_C(9765625), UINT64_C(48828125),
		UINT64_C(244140625), UINT64_C(1220703125), UINT64_C(6103515625), UINT64_C(30517578125),
		UINT64_C(152587890625), UINT64_C(762939453125), UINT64_C(3814697265625), UINT64_C(19073486328125),
		UINT64_C(95367431640625), UINT64_C(476837158203125), UINT64_C(2384185791015625),
		UINT64_C(11920928955078125), UINT64_C(59604644775390625), UINT64_C(298023223876953125),
		UINT64_C(1490116119384765625), UINT64_C(7450580596923828125),
	};

	return table[n];
}

#define HIGH UINT64_C(100000000000000000)       /* the least integer of 18 digits */

/* v > 0 by exact arithmetic, with its exponent; false when it is too large or too small for that. */
static bool scale(double v, struct scaled *n, int *exponent)
{
	uint64_t bits, m;
	int e, x;

	memcpy(&bits, &v, sizeof(bits));
	m = (bits & (UINT64_MAX >> 12)) | UINT64_C(1) << 52;
	e = (int)(bits >> 52) - 1075;           /* v = m * 2^e; a subnormal is far too small for this, whatever m is */
	n->even = !(m & 1);
	n->lowest = m == UINT64_C(1) << 52;
	x = (e + 52) * 78913 >> 18;             /* floor(log10(2^(e + 52))): v's own, or one less */
	for (;; x++) {
		int k = PRECISION - 1 - x;      /* q is v * 10^k = m * 5^k * 2^s */
		int s = e + k;

		if (k > POW5_MAX || k < -POW5_MAX)
			return false;
		if (k < 0) {                    /* s is positive here, and m << s below 2^122 */
			uint128 dividend = (uint128)m << s;

			n->unit = pow5(-k);
			n->q = (uint64_t)(dividend / n->unit);
			n->rest = dividend % n->unit;
			n->bit = (uint128)1 << s;
		} else if (s < 0) {             /* at most 63 bits are shifted out, since at least 53 remain of 116 */
			uint128 product = (uint128)m * pow5(k);

			n->unit = (uint128)1 << -s;
			n->q = (uint64_t)(product >> -s);
			n->rest = product & (n->unit - 1);
			n->bit = pow5(k);
		} else {
			n->unit = 1;
			n->q = m * pow5(k) << s;
			n->rest = 0;
			n->bit = (uint128)pow5(k) << s;
		}
		if (n->q < HIGH)
			break;
	}
	*exponent = x;
	return true;
}

/* To the nearest multiple of `ten` (1, 10, 100), and of two as near to the even one. */
static uint64_t nearest(const struct scaled *n, uint64_t ten)
{
	uint64_t low = n->q - n->q % ten;
	uint128 above = (uint128)(n->q - low) * n->unit + n->rest, all = ten * n->unit;

	return above * 2 > all || (above * 2 == all && (low / ten & 1)) ? low + ten : low;
}

/* Whether who reads c gets v: no other double is nearer, and where one is as near, v is the even one. */
static bool reads_back(const struct scaled *n, uint64_t c)
{
	uint128 at = c * n->unit, v = n->q * n->unit + n->rest;
	uint128 off = (at < v ? v - at : at - v) * 2;

	if (at < v && n->lowest)
		off *= 2;
	return off < n->bit || (off == n->bit && n->even);
}

/* The digits of v > 0 by exact arithmetic; false as above. */
static bool decimal_exact(double v, struct decimal *d)
{
	struct scaled n;
	uint64_t c;

	if (!scale(v, &n, &d->exponent))
		return false;
	c = nearest(&n, 100);
	if (!reads_back(&n, c)) {
		c = nearest(&n, 10);
		if (!reads_back(&n, c))
			c = nearest(&n, 1);
	}
	if (c == HIGH) {        /* 9.99... was rounded up */
		c /= 10;
		d->exponent++;
	}
	put_digits(d->digits, c, PRECISION);
	return true;
}

/* The same for every v > 0, by libc.  The decimal point may be any bytes. */
static void decimal_printf(double v, struct decimal *d)
{
	char text[64];
	const char *e;
	int n;

	for (n = v < DBL_MIN ? 1 : PRECISION_SURE;; n++) {      /* a subnormal may need fewer */
		snprintf(text, sizeof(text), "%.*e", n - 1, v);
		if (n == PRECISION || strtod(text, NULL) == v)
			break;
	}
	e = strchr(text, 'e');
	memset(d->digits, '0', sizeof(d->digits));
	d->digits[0] = text[0];
	memcpy(d->digits + 1, e - (n - 1), (size_t)n - 1);
	d->exponent = (int)strtol(e + 1, NULL, 10);
}

static char *put_chars(char *dst, const char *p, int n)
{
	memcpy(dst, p, (size_t)n);
	return dst + n;
}

/* Lays the number out as "%.17g" would without its zeros, but with ".0" behind what looks like an integer, and no '+'
 * or zeros in the exponent. */
static char *put_decimal(char *dst, const struct decimal *d)
{
	static const char zeros[] = "0000000000000000";
	int n = PRECISION, x = d->exponent;

	while (n > 1 && d->digits[n - 1] == '0')
		n--;
	if (x < -4 || x >= PRECISION) {
		*dst++ = d->digits[0];
		if (n > 1) {
			*dst++ = '.';
			dst = put_chars(dst, d->digits + 1, n - 1);
		}
		*dst++ = 'e';
		if (x < 0)
			*dst++ = '-';
		return put_uint(dst, (uint64_t)abs(x));
	}
	if (x < 0) {
		dst = put_chars(dst, zeros, 1);
		*dst++ = '.';
		dst = put_chars(dst, zeros, -x - 1);
		return put_chars(dst, d->digits, n);
	}
	dst = put_chars(dst, d->digits, x + 1);
	*dst++ = '.';
	return n > x + 1 ? put_chars(dst, d->digits + x + 1, n - x - 1) : put_chars(dst, zeros, 1);
}

static int put_real(struct writer *w, const json_t *json)
{
	double v = json_real_value(json);
	struct decimal d;

	assert(isfinite(v)); /* jansson makes no other reals */
	if (reserve(w, NUMBER_MAX) != 0)
		return -ENOMEM;
	if (signbit(v)) {
		*w->at++ = '-';
		v = -v;
	}
	if (v == 0)
		return put(w, "0.0", 3);
	if (!decimal_exact(v, &d))
		decimal_printf(v, &d);
	w->at = put_decimal(w->at, &d);
	return 0;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* A container that has been opened, and what of it comes next. */
struct frame {
	json_t *container;
	void *iter;             /* of an object: the next member, NULL at the end */
	size_t i;               /* members written */
};

static int put_scalar(struct writer *w, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return put_string(w, json_string_value(v), json_string_length(v));
	case JSON_INTEGER:
		return put_integer(w, json_integer_value(v));
	case JSON_REAL:
		return put_real(w, v);
	case JSON_TRUE:
		return put(w, "true", 4);
	case JSON_FALSE:
		return put(w, "false", 5);
	case JSON_NULL:
		return put(w, "null", 4);
	default:
		return -EINVAL;
	}
}

static int open_container(struct writer *w, struct frame *f, const json_t *v)
{
	f->container = (json_t *)v; /* jansson's iterators want it so; nothing is changed */
	f->iter = json_is_object(v) ? json_object_iter(f->container) : NULL;
	f->i = 0;
	return put(w, json_is_object(v) ? "{" : "[", 1);
}

/* Writes what stands before the next member and sets *v to its value, or closes the container and sets *v to NULL. */
static int next_member(struct writer *w, struct frame *f, const json_t **v)
{
	bool object = json_is_object(f->container);
	int error = 0;

	if (object ? !f->iter : f->i == json_array_size(f->container)) {
		*v = NULL;
		return put(w, object ? "}" : "]", 1);
	}
	if (f->i > 0)
		error = put(w, ",", 1);
	if (error == 0 && object) {
		error = put_string(w, json_object_iter_key(f->iter), json_object_iter_key_len(f->iter));
		if (error == 0)
			error = put(w, ":", 1);
		*v = json_object_iter_value(f->iter);
		f->iter = json_object_iter_next(f->container, f->iter);
	} else {
		*v = json_array_get(f->container, f->i);
	}
	f->i++;
	return error;
}

static int put_value(struct writer *w, const json_t *v)
{
	struct frame frames[JSON_DEPTH_MAX];
	size_t depth = 0;
	int error;

	for (;;) {
		if (!json_is_object(v) && !json_is_array(v))
			error = put_scalar(w, v);
		else if (depth == JSON_DEPTH_MAX)
			error = -ELOOP;
		else
			error = open_container(w, &frames[depth++], v);
		while (error == 0 && depth > 0) {
			error = next_member(w, &frames[depth - 1], &v);
			if (error || v)
				break;
			depth--;
		}
		if (error || depth == 0)
			return error;
	}
}

int json_write(struct arena *a, const json_t *v, struct slice *out)
{
	struct writer w;
	int error;

	if (!v)
		return -EINVAL;
	error = writer_init(&w, a);
	if (error)
		return error;
	error = put_value(&w, v);
	if (error) {
		writer_cut(&w, 0);
		return error;
	}
	writer_cut(&w, (size_t)(w.at - w.start));
	*out = (struct slice){ w.start, (size_t)(w.at - w.start) };
	return 0;
}
