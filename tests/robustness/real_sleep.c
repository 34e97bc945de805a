/* Loaded before libfaketime, whose own clock_nanosleep refuses the sleeps of Python 3.11 and later on a monotonic
   clock that is not faked: EINVAL. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *remain)
{
    return syscall(SYS_clock_nanosleep, clock, flags, request, remain) ? errno : 0;
}
