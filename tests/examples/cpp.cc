/* cpp.cc: offloop from C++20: exceptions, strings, and resources that free themselves.
 *
 * No exception may leave a handler: `guarded` makes a handler of a function that throws, and answers for it.  It
 * is a template over the function, so each is a plain function pointer for the table of routes.  Throwing and
 * catching are fine in both lanes, also with a suspension in between; what must not happen is a suspension inside
 * a catch block, because C++ keeps the exceptions being handled per thread and not per fiber.
 *
 * curl 'localhost:8000/words?text=to+be+or+not+to+be' curl -d '{"numbers": [1, 2, 3]}' localhost:8000/sum
 */
#include <offloop.h>

#include <cerrno>
#include <chrono>
#include <map>
#include <memory>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

struct json_free {
	void operator()(json_t *v) const { json_decref(v); }
};
using json = std::unique_ptr<json_t, json_free>;

/* An answer other than the handler's own, thrown from any depth. */
struct http_error : std::runtime_error {
	http_error(int status_, const std::string &detail) : std::runtime_error(detail), status(status_) {}
	int status;
};

/* The library's own -errno, thrown: the reply it latched (a 422, say) is the answer. */
struct latched {
	int rc;
};

int check(int rc)
{
	if (rc < 0)
		throw latched{ rc };
	return rc;
}

template <void (*f)(ol_req *)> int guarded(ol_req *r) noexcept
{
	try {
		f(r);
		return 0;
	} catch (const http_error &e) {
		return ol_error(r, e.status, e.what());
	} catch (const latched &e) {
		return e.rc;
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	} catch (const std::exception &e) {
		ol_log(r, OL_LOG_ERROR, "%s", e.what());
		return -EIO;
	} catch (...) {
		return -EIO;
	}
}

/* Holds an ol_mutex: unlike a std::lock_guard, it may be held while its handler is suspended. */
class lock {
public:
	lock(ol_req *r, ol_mutex &m) : mutex(m) { check(ol_mutex_lock(r, &mutex)); }
	~lock() { ol_mutex_unlock(&mutex); }
	lock(const lock &) = delete;
	lock &operator=(const lock &) = delete;

private:
	ol_mutex &mutex;
};

ol_mutex seen_lock = OL_MUTEX_INIT;
std::map<std::string, int> seen; /* under seen_lock */

std::string query(ol_req *r, const char *name)
{
	const char *value = ol_query(r, name);

	if (!value)
		check(ol_invalid(r, "query", name, "field required", "value_error.missing"));
	return value;
}

/* Counts the words of ?text=, and how often each has been seen since the start. */
void words(ol_req *r)
{
	std::istringstream text(query(r, "text"));
	json counts(json_object());
	lock hold(r, seen_lock);

	for (std::string word; text >> word;)
		if (json_object_set_new(counts.get(), word.c_str(), json_integer(++seen[word])) < 0)
			throw http_error(400, "this is not UTF-8");
	check(ol_json_new(r, 200, counts.release()));
}

/* The sum of the body's "numbers". */
void sum(ol_req *r)
{
	json_t *body = ol_body_json(r), *number;
	json_int_t total = 0;
	size_t i;

	if (!body)
		throw latched{ -EINVAL };
	json_array_foreach(json_object_get(body, "numbers"), i, number) {
		if (!json_is_integer(number))
			throw http_error(400, "number " + std::to_string(i) + " is not an integer");
		total += json_integer_value(number);
	}
	check(ol_sleep(r, 1)); /* in a try block, but not in a catch block: no harm */
	check(ol_textf(r, 200, "%lld\n", static_cast<long long>(total)));
}

/* An exception nobody foresaw is a 500 that tells the client nothing, and a line in the log. */
void unforeseen(ol_req *r)
{
	check(ol_sleep(r, 1));
	throw std::out_of_range("a secret of the program's");
}

/* A need is acquired before the handler and released after it, so it may be an object of C++. */
int meet_visitor(ol_req *r, void **value) noexcept
{
	const char *name = ol_header(r, "X-Name");

	if (!name)
		return ol_error(r, 401, "Who is there?");
	try {
		*value = new std::string(name);
		return 0;
	} catch (const std::bad_alloc &) {
		return -ENOMEM;
	}
}

void part_with_visitor(ol_req *, void *value)
{
	delete static_cast<std::string *>(value);
}

const struct ol_need visitor = { .name = "visitor", .acquire = meet_visitor, .release = part_with_visitor };

void greet(ol_req *r)
{
	const auto &name = *static_cast<std::string *>(ol_need_value(r, "visitor"));

	check(ol_textf(r, 200, "Hello, %s!\n", name.c_str()));
}

/* Middleware: tells the client how long the handler took. */
int timed(ol_req *r, ol_next *next) noexcept
{
	const auto begun = std::chrono::steady_clock::now();
	const int rc = ol_next_run(next, r);
	const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begun;
	const char *text = ol_printf(r, "handler;dur=%.3f", took.count());

	return rc < 0 ? rc : text ? ol_header_set(r, "Server-Timing", text) : -ENOMEM;
}

const struct ol_route routes[] = {
	OL_GET("/greet", .async = guarded<greet>, .needs = { &visitor }, .middleware = { timed }),
	OL_GET("/sync/greet", .sync = guarded<greet>, .needs = { &visitor }, .middleware = { timed }),
	OL_GET("/words", .async = guarded<words>),
	OL_POST("/sum", .sync = guarded<sum>),
	OL_POST("/async/sum", .async = guarded<sum>),
	OL_POST("/adaptive/sum", .queue_timeout = 5000, .adaptive = guarded<sum>),
	OL_GET("/unforeseen", .async = guarded<unforeseen>),
	OL_GET("/sync/unforeseen", .sync = guarded<unforeseen>),
};

} // namespace

/* A const of C++ is its file's own: the first line makes it a symbol that `offloop run ./cpp.so:app` finds. */
extern "C" const struct ol_app app;
const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes), .name = "cpp" };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
