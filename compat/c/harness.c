#define _GNU_SOURCE
#include "harness.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char scenario_prefix[NAME_SIZE - 8];
static int queues, exchanges;
/* Where the scenario's process tells its reason. */
static int reason_fd = -1;

static bool has_word(const char *variable, const char *word) {
  const char *value = getenv(variable);
  if (value == NULL) {
    return false;
  }
  char padded[1024], wanted[NAME_SIZE];
  snprintf(padded, sizeof padded, " %s ", value);
  snprintf(wanted, sizeof wanted, " %s ", word);
  return strstr(padded, wanted) != NULL;
}

/* COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them. */
static bool is_chosen(const char *name) {
  const char *only = getenv("COMPAT_ONLY");
  return (only == NULL || only[0] == '\0' || has_word("COMPAT_ONLY", name)) && !has_word("COMPAT_SKIP", name);
}

void made_name(char name[NAME_SIZE], const char *prefix, const char *kind, int number) {
  snprintf(name, NAME_SIZE, "%s.%s%d", prefix, kind, number);
}

static const char *next_name(const char *kind, int *count) {
  check(*count < NAMES_MAX, "at most %d names of a kind", NAMES_MAX);
  *count += 1;
  char *name = malloc(NAME_SIZE);
  made_name(name, scenario_prefix, kind, *count);
  return name;
}

const char *queue_name(void) { return next_name("q", &queues); }

const char *exchange_name(void) { return next_name("x", &exchanges); }

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vdprintf(reason_fd, format, arguments);
  va_end(arguments);
  _exit(1);
}

void equal_number(int64_t actual, int64_t expected, const char *what) {
  check(actual == expected, "%s: expected %" PRId64 ", got %" PRId64, what, expected, actual);
}

void equal_text(const char *actual, const char *expected, const char *what) {
  check(strcmp(actual, expected) == 0, "%s: expected '%s', got '%s'", what, expected, actual);
}

/* Runs in a child, so that a crash or an endless wait is one failed scenario. Fills `reason`; empty is success. */
static void outcome(void (*run)(void), char *reason, size_t reason_size) {
  int ends[2];
  reason[0] = '\0';
  if (pipe(ends) != 0) {
    snprintf(reason, reason_size, "no pipe");
    return;
  }
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    reason_fd = ends[1];
    alarm(SCENARIO_SECONDS_MAX);
    run();
    _exit(0);
  }
  close(ends[1]);
  size_t length = 0;
  ssize_t got;
  while (length + 1 < reason_size && (got = read(ends[0], reason + length, reason_size - 1 - length)) > 0) {
    length += (size_t)got;
  }
  reason[length] = '\0';
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    snprintf(reason, reason_size, WTERMSIG(status) == SIGALRM ? "not done after %d s" : "ended by a signal", SCENARIO_SECONDS_MAX);
  } else if (status != 0 && length == 0) {
    snprintf(reason, reason_size, "ended without a reason");
  }
  for (char *at = reason; *at != '\0'; at++) {
    if (*at == '\n' || *at == '\r') {
      *at = ' ';
    }
  }
}

static void (*cleanup_of_scenario)(const char *prefix);

static void run_cleanup(void) { cleanup_of_scenario(scenario_prefix); }

int run_scenarios(const char *client, const char *version, const struct scenario *scenarios, size_t count, void (*cleanup)(const char *prefix)) {
  uint32_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) {
    return 2;
  }
  printf("client %s %s\nplan", client, version);
  for (size_t i = 0; i < count; i++) {
    if (is_chosen(scenarios[i].name)) {
      printf(" %s", scenarios[i].name);
    }
  }
  printf("\n");
  int code = 0;
  cleanup_of_scenario = cleanup;
  for (size_t i = 0; i < count; i++) {
    if (!is_chosen(scenarios[i].name)) {
      continue;
    }
    snprintf(scenario_prefix, sizeof scenario_prefix, "compat.%s.%08" PRIx32 ".%s", client, random, scenarios[i].name);
    char reason[300];
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    outcome(scenarios[i].run, reason, sizeof reason);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    printf("%s %s %.2f %s\n", reason[0] == '\0' ? "ok" : "FAIL", scenarios[i].name, seconds, reason);
    code |= reason[0] != '\0';
    outcome(run_cleanup, reason, sizeof reason);
    if (reason[0] != '\0') {
      fprintf(stderr, "cleanup of %s: %s\n", scenarios[i].name, reason);
      code = 1;
    }
  }
  return code;
}

unsigned char *five_mebibytes(size_t *size) {
  *size = 5 * 1024 * 1024;
  unsigned char *body = malloc(*size);
  for (size_t at = 0; at < *size; at++) {
    size_t offset = at % 256;
    body[at] = (unsigned char)(offset < 4 ? (at / 256) >> (8 * (3 - offset)) : offset);
  }
  return body;
}
