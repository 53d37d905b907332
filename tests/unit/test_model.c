/* test_model.c: the rules of each --model. */
#include "model.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const enum config_model all[] = { MODEL_HYBRID, MODEL_ASGI, MODEL_TORNADO, MODEL_WSGI, MODEL_WSGI_SYNC };

START_TEST(hybrid_changes_nothing)
{
	const struct model *m = model_of(MODEL_HYBRID);

	ck_assert(!model_decides(m) && !m->offload_inline && !m->one_connection &&
		!m->slow_clients_hold);
	ck_assert(model_pooled(m, true) && !model_pooled(m, false));
	ck_assert_uint_eq(model_pool(m, 3), 3);
	ck_assert(m->loops == 0 && m->threads == 0);
}
END_TEST

START_TEST(the_others_decide_and_have_a_loop)
{
	for (size_t i = 1; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct model *m = model_of(all[i]);

		ck_assert(model_decides(m));
		ck_assert_uint_eq(m->loops, 1);
		ck_assert(model_pooled(m, true) == model_pooled(m, false));
	}
}
END_TEST

START_TEST(asgi_and_tornado_differ_in_what_is_offloaded)
{
	ck_assert(!model_pooled(model_of(MODEL_ASGI), true) && !model_pooled(model_of(MODEL_TORNADO), true));
	ck_assert(model_of(MODEL_ASGI)->offload_inline);
	ck_assert(!model_of(MODEL_TORNADO)->offload_inline);
	ck_assert_uint_eq(model_pool(model_of(MODEL_TORNADO), 2), 2);
}
END_TEST

START_TEST(wsgi_has_one_pool_and_wsgi_sync_one_thread_of_it)
{
	ck_assert(model_pooled(model_of(MODEL_WSGI), false) && model_pooled(model_of(MODEL_WSGI_SYNC), false));
	ck_assert_uint_eq(model_pool(model_of(MODEL_WSGI), 2), 0);
	ck_assert_uint_eq(model_of(MODEL_WSGI)->threads, 0);
	ck_assert(!model_of(MODEL_WSGI)->one_connection && model_of(MODEL_WSGI)->slow_clients_hold);
	ck_assert_uint_eq(model_of(MODEL_WSGI_SYNC)->threads, 1);
	ck_assert(model_of(MODEL_WSGI_SYNC)->one_connection);
}
END_TEST

START_TEST(a_pool_is_resized_where_it_has_work_and_more_than_one_size)
{
	static const char *const works[] = { "yyy", "nnn", "yyy", "ynn", "ynn" };
	static const char *const fixed[] = { "nnn", "yyy", "nnn", "nyy", "yyy" };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		for (unsigned pool = 0; pool < 3; pool++) {
			char why[160] = "";

			ck_assert(model_works(model_of(all[i]), pool) == (works[i][pool] == 'y'));
			ck_assert(model_fixes(model_of(all[i]), pool, why, sizeof(why)) == (fixed[i][pool] == 'y'));
			ck_assert((strstr(why, model_of(all[i])->name) != NULL) == (fixed[i][pool] == 'y'));
		}
	}
}
END_TEST

static void check_text(enum config_model m, unsigned endpoints, unsigned loops, unsigned threads, const char *wanted)
{
	char text[160];

	model_text(text, sizeof(text), model_of(m), endpoints, loops, threads);
	ck_assert_str_eq(text, wanted);
}

START_TEST(a_line_says_what_has_become_of_the_app)
{
	check_text(MODEL_HYBRID, 2, 2, 40, "model hybrid: 2 endpoints as declared");
	check_text(MODEL_WSGI, 12, 1, 40, "model wsgi: 12 endpoints on pool default, 40 threads");
	check_text(MODEL_WSGI, 1, 1, 1, "model wsgi: 1 endpoint on pool default, 1 thread");
	check_text(MODEL_ASGI, 12, 1, 40, "model asgi: 12 endpoints on 1 loop, ol_offload too");
	check_text(MODEL_TORNADO, 12, 2, 40, "model tornado: 12 endpoints on 2 loops, ol_offload to its pools");
	check_text(MODEL_WSGI_SYNC, 12, 1, 1, "model wsgi-sync: 12 endpoints on one thread, one connection at a time");
}
END_TEST

START_TEST(the_line_is_cut_where_it_does_not_fit)
{
	for (size_t n = 1; n < 60; n++) {
		char *text = malloc(n);

		ck_assert_ptr_nonnull(text);
		model_text(text, n, model_of(MODEL_WSGI), 12, 1, 40);
		ck_assert_uint_lt(strlen(text), n);
		free(text);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("model");
	TCase *t = tcase_create("rules");
	SRunner *r;
	int failed;

	tcase_add_test(t, hybrid_changes_nothing);
	tcase_add_test(t, the_others_decide_and_have_a_loop);
	tcase_add_test(t, asgi_and_tornado_differ_in_what_is_offloaded);
	tcase_add_test(t, wsgi_has_one_pool_and_wsgi_sync_one_thread_of_it);
	tcase_add_test(t, a_pool_is_resized_where_it_has_work_and_more_than_one_size);
	tcase_add_test(t, a_line_says_what_has_become_of_the_app);
	tcase_add_test(t, the_line_is_cut_where_it_does_not_fit);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
