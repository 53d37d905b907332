/* top.c: `offloop top [-n N] [ADDRESS]`.
 *
 * Asks a control plane once a second and shows what it says (top_draw.c).  On a terminal it takes the whole screen,
 * follows its size, and gives it back as it was, whatever ends it: q, Ctrl-C, SIGTERM or SIGHUP; elsewhere it prints
 * plain lines, once.  Rates are over the last WINDOW pages of the same process: when its start changes, the old ones
 * are forgotten.
 *
 * The first answer must come, else there is nothing to show and the command ends.  Later ones may fail: the last
 * picture stays, with a line that says since when, and asking goes on.
 *
 * One thread.  Signals set flags and are let in only while we wait (ppoll), so none is missed and nothing is
 * interrupted.
 */
#include "base/clock.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 6
#define PERIOD_NS NS_PER_S
#define ERROR 512

struct top {
	const char *address;
	unsigned long refreshes;        /* 0: until told to stop */
	struct figures pages[WINDOW];   /* oldest first */
	unsigned npages;
	struct top_told told;
	struct screen screen;
	struct termios before;
	char lost[ERROR + 64];
};

static volatile sig_atomic_t stop_signal, resized;

static void on_stop(int signum)
{
	stop_signal = signum;
}

static void on_resize(int signum)
{
	(void)signum;
	resized = 1;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* A page that may not be there: *out is NULL then.  0 or -errno with one line in err. */
static int ask_json(const struct top *t, const char *path, json_t **out, char *err)
{
	struct answer a;
	int rc = ask(t->address, path, &a, err, ERROR);

	*out = NULL;
	if (rc)
		return rc;
	if (a.status == 200)
		*out = json_loadb(a.body, a.n, 0, NULL);
	if (a.status == 200 && !json_is_array(*out)) {
		snprintf(err, ERROR, "what %s answers for %s is no list: is it a control plane?", t->address, path);
		rc = -EPROTO;
	}
	free(a.body);
	return rc;
}

static bool is_ours(const struct figures *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (strncmp(f->samples[i].name, "offloop_", 8) == 0)
			return true;
	return false;
}

static int ask_figures(const struct top *t, struct figures *f, char *err)
{
	uint64_t at = clock_now_ns();
	struct answer a;
	int rc = ask(t->address, "/metrics", &a, err, ERROR);

	if (rc)
		return rc;
	if (a.status != 200) {
		snprintf(err, ERROR, "%s answers /metrics with %d: is it a control plane?", t->address, a.status);
		free(a.body);
		return -EPROTO;
	}
	if ((rc = figures_parse(f, a.body, at))) {
		snprintf(err, ERROR, "no memory");
	} else if (!is_ours(f)) {
		snprintf(err, ERROR, "what %s answers for /metrics has no figures of offloop's: is it a control plane?",
			t->address);
		figures_fini(f);
		rc = -EPROTO;
	}
	return rc;
}

static void forget(struct top *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		figures_fini(&t->pages[i]);
	t->npages -= n;
	memmove(t->pages, t->pages + n, t->npages * sizeof(*t->pages));
}

static double began(const struct figures *f)
{
	double v;

	figures_sum(f, "process_start_time_seconds", (struct where){ NULL, NULL }, &v);
	return v;
}

static void drop(struct top_told *told)
{
	json_decref(told->pools);
	json_decref(told->routes);
	json_decref(told->stalls);
	json_decref(told->advice);
}

/* One round; what it told replaces what is shown.  0 or -errno with one line in err. */
static int ask_all(struct top *t, char *err)
{
	struct top_told told = { .address = t->address };
	struct figures page = { 0 };
	int rc = ask_figures(t, &page, err);

	if (rc || (rc = ask_json(t, "/pools", &told.pools, err)) || (rc = ask_json(t, "/routes", &told.routes, err)) ||
		(rc = ask_json(t, "/stalls", &told.stalls, err)) || (rc = ask_json(t, "/advice", &told.advice, err))) {
		figures_fini(&page);
		drop(&told);
		return rc;
	}
	if (t->npages > 0 && began(&t->pages[t->npages - 1]) != began(&page))
		forget(t, t->npages);
	if (t->npages == WINDOW)
		forget(t, 1);
	t->pages[t->npages++] = page;
	drop(&t->told);
	t->told = told;
	t->told.now = page;
	t->told.then = t->npages > 1 ? &t->pages[0] : NULL;
	return 0;
}

/* ---- the terminal ------------------------------------------------------------------------------------------------ */

static unsigned from_environment(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);
	unsigned long v = text ? strtoul(text, NULL, 10) : 0;

	return v >= 20 && v <= 10000 ? (unsigned)v : otherwise;
}

static void measure(struct top *t)
{
	struct winsize size = { 0 };

	if (t->screen.terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
		t->screen.width = size.ws_col;
		t->screen.height = size.ws_row;
		return;
	}
	t->screen.width = from_environment("COLUMNS", t->screen.terminal ? 80 : 140);
	t->screen.height = t->screen.terminal ? 24 : 0;
}

static bool is_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *locale = getenv(names[i]);

		if (locale && *locale)
			return strcasestr(locale, "utf-8") || strcasestr(locale, "utf8");
	}
	return false;
}

static void say(const char *sequence)
{
	if (write(STDOUT_FILENO, sequence, strlen(sequence)) < 0)
		stop_signal = SIGHUP; /* the terminal has gone */
}

static void take_terminal(struct top *t)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &t->before) == 0) {
		raw = t->before;
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	say("\033[?1049h\033[?25l\033[2J");
}

static void give_back(struct top *t)
{
	say("\033[?7h\033[?25h\033[?1049l");
	if (t->before.c_cflag)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
}

/* Whether a key was pressed that ends it.  End of input does not, nor input that cannot be read: it is then not looked
 * at any more. */
static bool read_keys(struct pollfd *in)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		in->fd = -1;
	for (ssize_t i = 0; i < n; i++)
		if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 3)
			return true;
	return false;
}

static int show(struct top *t)
{
	measure(t);
	top_draw(&t->screen, &t->told);
	return screen_show(&t->screen, STDOUT_FILENO);
}

/* Until the time has come, drawing anew when the window changes.  Whether to go on. */
static bool wait_until(struct top *t, uint64_t at_ns, const sigset_t *waiting)
{
	struct pollfd in = { .fd = t->screen.terminal ? STDIN_FILENO : -1, .events = POLLIN };

	while (!stop_signal) {
		uint64_t now = clock_now_ns();
		struct timespec left = clock_timespec(at_ns > now ? at_ns - now : 0);

		if (at_ns <= now)
			return true;
		if (ppoll(&in, 1, &left, waiting) > 0 && read_keys(&in))
			return false;
		if (resized) {
			resized = 0;
			say("\033[2J");
			if (show(t))
				return false;
		}
	}
	return false;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static void catch_signals(sigset_t *waiting)
{
	const struct sigaction stop = { .sa_handler = on_stop }, resize = { .sa_handler = on_resize };
	sigset_t ours;

	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGHUP);
	sigaddset(&ours, SIGWINCH);
	sigprocmask(SIG_BLOCK, &ours, waiting);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGHUP, &stop, NULL);
	sigaction(SIGWINCH, &resize, NULL);
}

static void lose(struct top *t, const char *why)
{
	time_t now = time(NULL);
	struct tm local;

	if (!*t->lost && localtime_r(&now, &local))
		snprintf(t->lost, sizeof(t->lost), "since %02d:%02d:%02d %s", local.tm_hour, local.tm_min,
			local.tm_sec, why);
	t->told.lost = t->lost;
}

/* From the first answer on.  The exit status. */
static int watch(struct top *t, const sigset_t *waiting, char *err)
{
	uint64_t next = clock_now_ns();
	unsigned long shown = 0;

	/* a page alone has no rates */
	if (!t->screen.terminal) {
		next += PERIOD_NS;
		if (!wait_until(t, next, waiting))
			return 0;
	}
	for (;;) {
		int rc = shown > 0 || !t->screen.terminal ? ask_all(t, err) : 0;

		if (rc && !t->screen.terminal) {
			fprintf(stderr, "offloop top: %s\n", err);
			return 1;
		}
		if (rc)
			lose(t, err);
		else
			*t->lost = 0;
		if (show(t) || ++shown == t->refreshes)
			return 0;
		next = clock_now_ns() > next + PERIOD_NS ? clock_now_ns() : next + PERIOD_NS;
		if (!wait_until(t, next, waiting))
			return 0;
		if (!t->screen.terminal)
			say("\n");
	}
}

static int start(struct top *t)
{
	const char *plain = getenv("NO_COLOR"), *term = getenv("TERM");
	char err[ERROR] = "";
	sigset_t waiting;
	int status;

	t->screen.terminal = isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
	t->screen.colour = t->screen.terminal && !(plain && *plain);
	t->screen.ascii = !is_utf8();
	if (!t->screen.terminal && t->refreshes == 0)
		t->refreshes = 1;
	if (ask_all(t, err)) {
		fprintf(stderr, "offloop top: %s\n", err);
		return 1;
	}
	catch_signals(&waiting);
	if (t->screen.terminal)
		take_terminal(t);
	status = watch(t, &waiting, err);
	if (t->screen.terminal)
		give_back(t);
	return status;
}

static bool read_count(const char *text, unsigned long *n)
{
	char *end;

	*n = strtoul(text, &end, 10);
	return *text >= '1' && *text <= '9' && *end == 0 && *n <= 1000000000;
}

/* 0, or 2 after one line on stderr. */
static int read_arguments(int argc, char **argv, struct top *t)
{
	char err[ERROR];

	for (int i = 1; i < argc; i++) {
		bool counted = strcmp(argv[i], "-n") == 0;

		if (counted && (++i == argc || !read_count(argv[i], &t->refreshes))) {
			fprintf(stderr, "offloop top: -n takes how often to show it, as in -n 10\n");
			return 2;
		}
		if (counted)
			continue;
		if (argv[i][0] == '-' || t->address) {
			fprintf(stderr, "offloop top: \"%s\" is one argument too many: offloop %s\n", argv[i],
				command_top.usage);
			return 2;
		}
		t->address = argv[i];
	}
	if (!t->address)
		t->address = ASK_DEFAULT;
	if (ask_check(t->address, err, sizeof(err)) == 0)
		return 0;
	fprintf(stderr, "offloop top: %s\n", err);
	return 2;
}

static int run(int argc, char **argv)
{
	struct top t = { .address = NULL };
	int status;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("Usage: offloop %s\n\n%s", command_top.usage, command_top.details);
		return 0;
	}
	if ((status = read_arguments(argc, argv, &t)))
		return status;
	status = start(&t);
	drop(&t.told);
	forget(&t, t.npages);
	screen_fini(&t.screen);
	return status;
}

const struct command command_top = { "top", "top [-n N] [ADDRESS]", "watch a running server in the terminal",
	"Shows what the server whose control plane is at ADDRESS does: loops, pools, stalls, and routes by load.\n"
	"ADDRESS is HOST:PORT, [ADDRESS]:PORT or unix:PATH, as --control takes it; 127.0.0.1:9190 when not given.\n"
	"It is refreshed each second until q or Ctrl-C is pressed, or N times; where the output is no terminal, plain\n"
	"text is printed once, or N times.  NO_COLOR in the environment leaves out colours.\n",
	run };
