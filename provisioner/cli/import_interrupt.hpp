// Ends a long import where it can go on. Private to provisioner/cli.
#pragma once

#include <atomic>
#include <csignal>

namespace fleet::provisioner {

// Whether the import shall end.
inline std::atomic<bool> interrupted = false;

// Ctrl-C and kill end an import between two batches; the second one at once.
class InterruptGuard {
 public:
  InterruptGuard() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    ::sigaction(SIGINT, &action, &interrupt_before_);
    ::sigaction(SIGTERM, &action, &terminate_before_);
  }
  ~InterruptGuard() {
    ::sigaction(SIGINT, &interrupt_before_, nullptr);
    ::sigaction(SIGTERM, &terminate_before_, nullptr);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction interrupt_before_ {}, terminate_before_ {};
};

}  // namespace fleet::provisioner
