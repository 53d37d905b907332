/* safe_text.c: which characters of somebody else's text a terminal may be given.
 *
 * Names of routes, files and pools come from a server, and may hold anything.  Not shown are: control characters, those
 * of C1 among them, which steer a terminal; Unicode's format characters, which turn text around (U+202E), hide in it
 * (U+200B, U+FEFF) or tag it (U+E0000); line and paragraph separators; and bytes that are no character, overlong forms
 * and surrogates among them, since terminals differ in what they make of those.
 *
 * No state; any thread.
 */
#include "cli/safe_text.h"

#include <stdint.h>

struct range {
	uint32_t first, last;
};

static bool steers(uint32_t c)
{
	static const struct range ranges[] = { { 0, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c },
		{ 0x180e, 0x180e }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff },
		{ 0xfff9, 0xfffb }, { 0xe0000, 0xe007f } };

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

/* The length that the first byte announces; 0 when none begins with it. */
static size_t announced(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

size_t safe_character(const char *text, bool *safe)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)*text;
	size_t n = announced(first);
	uint32_t c = n < 2 ? first : first & (0x7fu >> n);

	*safe = false;
	for (size_t i = 1; i < n; i++) {
		unsigned char next = (unsigned char)text[i];

		if ((next & 0xc0) != 0x80)
			return 1;
		c = c << 6 | (next & 0x3f);
	}
	if (n == 0 || c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 1;
	*safe = !steers(c);
	return n;
}
