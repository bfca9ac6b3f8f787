/* assert -- what cannot happen. Stays on in every build: a wrong answer costs more than a restart. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#define ASSERT(cond) ((cond) ? (void)0 : assert_fail(__FILE__, __LINE__, #cond))

void assert_fail(const char *file, int line, const char *cond) __attribute__((noreturn, cold));
#endif
