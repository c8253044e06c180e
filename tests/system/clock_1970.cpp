// A device without a battery behind its clock, for LD_PRELOAD: the system clock begins at 1970 with each process. The
// monotonic clock stays as it is.
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

namespace {

int real_clock(clockid_t clock, timespec* now) {
  return static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
}

timespec since_start() {
  static const timespec start = [] {
    timespec now{};
    real_clock(CLOCK_MONOTONIC, &now);
    return now;
  }();
  timespec now{};
  real_clock(CLOCK_MONOTONIC, &now);
  now.tv_sec -= start.tv_sec;
  now.tv_nsec -= start.tv_nsec;
  if (now.tv_nsec < 0) {
    --now.tv_sec;
    now.tv_nsec += 1'000'000'000;
  }
  return now;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, timespec* now) {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return real_clock(clock, now);
  *now = since_start();
  return 0;
}

__attribute__((visibility("default"))) int gettimeofday(timeval* now, void*) {
  const timespec time = since_start();
  *now = {time.tv_sec, time.tv_nsec / 1000};
  return 0;
}

__attribute__((visibility("default"))) time_t time(time_t* now) {
  const time_t seconds = since_start().tv_sec;
  if (now != nullptr) *now = seconds;
  return seconds;
}

}  // extern "C"
