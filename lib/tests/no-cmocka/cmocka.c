// SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static jmp_buf test;

void leave_test(int how)
{
	longjmp(test, how);
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n, void *up, void *down)
{
	static int failed;
	static size_t i;

	(void)name;
	(void)up;
	(void)down;
	setvbuf(stdout, NULL, _IONBF, 0);	/* tests fork */
	printf("1..%zu\n", n);
	for (i = 0; i < n; i++) {
		void *state = tests[i].state;
		int how = setjmp(test);

		if (!how)
			tests[i].fn(&state);
		if (how == 2)
			printf("not ok %zu # SKIP %s\n", i + 1, tests[i].name);	/* as cmocka writes it */
		else
			printf("%sok %zu - %s\n", how ? "not " : "", i + 1, tests[i].name);
		failed += how == 1;
	}
	return failed;
}
