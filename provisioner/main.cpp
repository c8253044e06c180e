#include <malloc.h>

#include "provisioner/cli/cli.hpp"

int main(int argc, char** argv) {
  // glibc gives the end of a thread's heap back as soon as 128 KiB of it are free, and grows it again by a system call for each
  // few KiB: the thread that writes, which uses and frees that much with each group of devices, would do nothing else.
  ::mallopt(M_TRIM_THRESHOLD, 16 << 20);
  return fleet::provisioner::run_cli(argc, argv);
}
