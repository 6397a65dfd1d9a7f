/* SPDX-License-Identifier: MIT OR LGPL-2.1-or-later */
/*
 * What the unit tests use of cmocka, for C libraries and processors that Debian has
 * no cmocka for. Prints TAP. A test that fails or is skipped leaves by longjmp().
 */
#ifndef CMOCKA_H
#define CMOCKA_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef void (*CMUnitTestFunction)(void **state);

struct CMUnitTest {
	const char *name;
	CMUnitTestFunction fn;
	void *set_up, *tear_down;	/* NULL */
	void *state;
};

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n, void *, void *);

_Noreturn void leave_test(int how);
#define skip()				leave_test(2)
#define print_message(...)		printf("# " __VA_ARGS__)
#define fail_msg(...) \
	do { \
		printf("# %s:%d: ", __FILE__, __LINE__); \
		printf(__VA_ARGS__); \
		putchar('\n'); \
		leave_test(1); \
	} while (0)

#define assert_that(condition, ...) \
	do { \
		if (!(condition)) \
			fail_msg(__VA_ARGS__); \
	} while (0)
#define assert_true(a)			assert_that(a, "not true: %s", #a)
#define assert_false(a)			assert_that(!(a), "not false: %s", #a)
#define assert_null(a)			assert_that(!(a), "not NULL: %s", #a)
#define assert_non_null(a)		assert_that(a, "NULL: %s", #a)
#define assert_ptr_equal(a, b)		assert_that((a) == (b), "%s is not %s", #a, #b)
#define assert_ptr_not_equal(a, b)	assert_that((a) != (b), "%s is %s", #a, #b)
#define assert_string_equal(a, b)	assert_that(!strcmp(a, b), "%s is not %s", #a, #b)
#define assert_memory_equal(a, b, n)	assert_that(!memcmp(a, b, n), "%s is not what %s is", #a, #b)
#define assert_in_range(a, low, high) \
	assert_that((uint64_t)(a) >= (uint64_t)(low) && (uint64_t)(a) <= (uint64_t)(high), \
		    "%s is not from %s to %s", #a, #low, #high)
#define assert_int_equal(a, b) \
	do { \
		long long is_ = (long long)(a), should_ = (long long)(b); \
		assert_that(is_ == should_, "%s is %lld, not %lld", #a, is_, should_); \
	} while (0)

#endif /* CMOCKA_H */
