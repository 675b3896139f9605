/* Runs scenarios, each in a process of its own, and reports each on its own line, as `compat/run` expects; see python/harness.py. */
#ifndef COMPAT_HARNESS_H
#define COMPAT_HARNESS_H

#include <stddef.h>
#include <stdint.h>

enum { SCENARIO_SECONDS_MAX = 30, NAMES_MAX = 8, NAME_SIZE = 128 };

struct scenario {
  const char *name;
  void (*run)(void);
};

/* Exit code of the program. `cleanup(prefix)` runs once for each scenario; what it declared is called `prefix`.q1, `prefix`.x1 and so on. */
int run_scenarios(const char *client, const char *version, const struct scenario *scenarios, size_t count, void (*cleanup)(const char *prefix));

/* Fresh names of the running scenario. */
const char *queue_name(void);
const char *exchange_name(void);
/* The names that `queue_name` ("q") and `exchange_name` ("x") have made under a prefix: number 1 to NAMES_MAX. */
void made_name(char name[NAME_SIZE], const char *prefix, const char *kind, int number);

/* Ends the scenario with this reason. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define check(condition, ...) \
  do {                        \
    if (!(condition)) {       \
      fail(__VA_ARGS__);      \
    }                         \
  } while (0)

void equal_number(int64_t actual, int64_t expected, const char *what);
void equal_text(const char *actual, const char *expected, const char *what);

/* 5 MiB in which no 256 bytes repeat; the caller frees. */
unsigned char *five_mebibytes(size_t *size);

#endif
