/* hello.cc: hello.c, in C++20: the same source. */
#include <offloop.h>

static int hello(ol_req *r)
{
	return ol_textf(r, 200, "Hello, %s!\n", ol_param(r, "name"));
}

static const struct ol_route routes[] = {
	OL_GET("/hello/{name}", .async = hello),
};

const struct ol_app app = { OL_APP_INIT, OL_ROUTES(routes) };

int main(int argc, char **argv)
{
	return ol_main(argc, argv, &app);
}
