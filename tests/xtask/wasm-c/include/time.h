#pragma once
#include <stddef.h>
typedef long long time_t;
typedef long long clock_t;
struct timespec {
    time_t tv_sec;
    long tv_nsec;
};
/* In wasi-libc a clock is the address of an object. Because CLOCK_MONOTONIC is
   defined, tree-sitter doesn't call clock(), which that library lacks. */
typedef const struct __clockid *clockid_t;
extern const struct __clockid _CLOCK_MONOTONIC;
#define CLOCK_MONOTONIC (&_CLOCK_MONOTONIC)
#define CLOCKS_PER_SEC ((clock_t)1000000000)
int clock_gettime(clockid_t, struct timespec *);
