// Real processes in tests: started, watched, stopped by pid, never left behind.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fleet::test {

using namespace std::chrono_literals;

struct Command {
  std::vector<std::string> arguments;           // arguments[0] is looked up in PATH
  std::map<std::string, std::string> environment = {};  // added to the test's own
  std::filesystem::path output = {};            // stdout and stderr are appended here; empty: captured in a temporary file
};

// A child process. The destructor kills it (SIGKILL) and waits for it; so does the end of the test program.
class Process {
 public:
  explicit Process(Command command);
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  pid_t pid() const { return pid_; }
  bool running();
  void signal(int number);
  void kill();  // SIGKILL and wait
  // Exit code (128+n for a signal), or nullopt if it still runs after `limit`.
  std::optional<int> wait(std::chrono::milliseconds limit = 10s);
  // SIGTERM, then wait; SIGKILL if it does not follow within `limit`.
  int stop(std::chrono::milliseconds limit = 10s);
  // What it has written so far.
  std::string output() const;

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
  std::filesystem::path output_;
  bool own_output_ = false;
};

struct Outcome {
  int exit_code = -1;
  std::string output;  // stdout
  std::string errors;  // stderr
};
// Runs a command to its end (killed after `limit`: exit code -1), with `input` on its stdin.
Outcome run(std::vector<std::string> arguments, std::string_view input = {}, std::chrono::milliseconds limit = 30s,
            std::map<std::string, std::string> environment = {});

// A TCP port on 127.0.0.1 that was free a moment ago.
int free_port();

// Polls every 20 ms until `condition` holds; false after `limit`.
bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = 10s);

}  // namespace fleet::test
