#include "agent/runtime/hook.hpp"

#include <cerrno>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

// posix_spawn's two option objects, destroyed with this.
struct SpawnOptions {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};

  SpawnOptions() {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    ::posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    sigset_t signals;
    ::sigfillset(&signals);
    ::posix_spawnattr_setsigdefault(&attributes, &signals);
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes, &signals);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnOptions() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnOptions(const SpawnOptions&) = delete;
  SpawnOptions& operator=(const SpawnOptions&) = delete;
};

// Our environment without what is meant for us alone.
std::vector<std::string> environment(std::string state_dir, std::uint64_t generation) {
  std::vector<std::string> variables;
  for (char** variable = ::environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("NOTIFY_SOCKET=") || text.starts_with("FLEET_")) continue;
    variables.emplace_back(text);
  }
  variables.push_back("FLEET_STATE_DIR=" + std::move(state_dir));
  variables.push_back("FLEET_GENERATION=" + std::to_string(generation));
  return variables;
}

}  // namespace

HookRunner::HookRunner(boost::asio::io_context& io, std::filesystem::path program, std::filesystem::path state_dir,
                       Handlers handlers, Millis limit)
    : program_(std::move(program)),
      state_dir_(std::move(state_dir)),
      handlers_(std::move(handlers)),
      limit_(limit),
      process_(io),
      timer_(io) {}

HookRunner::~HookRunner() {
  if (pid_ < 0) return;
  kill_group();
  ::waitpid(pid_, nullptr, 0);
}

void HookRunner::run(std::string event, std::uint64_t generation) {
  if (program_.empty() || stopped_) return;
  calls_.push_back({std::move(event), generation});
  if (idle()) start_next();
}

void HookRunner::stop() {
  stopped_ = true;
  calls_.clear();
}

void HookRunner::start_next() {
  while (idle() && !calls_.empty()) {
    const Call call = std::move(calls_.front());
    calls_.pop_front();
    if (const auto spawned = spawn(call); !spawned) {
      log::warn("hook", spawned.error().message, {{"event", call.event}});
    } else {
      watch();
    }
  }
}

Result<void> HookRunner::spawn(const Call& call) {
  const SpawnOptions options;
  std::string program = program_.string();
  std::string event = call.event;
  char* arguments[] = {program.data(), event.data(), nullptr};
  std::vector<std::string> variables = environment(state_dir_.string(), call.generation);
  std::vector<char*> pointers;
  for (std::string& variable : variables) pointers.push_back(variable.data());
  pointers.push_back(nullptr);

  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &options.files, &options.attributes, arguments, pointers.data());
  if (error != 0) return fail(errno_error(error, program));
  // by number: <sys/pidfd.h> of glibc 2.36 forgets extern "C"
  const int descriptor = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (descriptor < 0) {
    const int open_error = errno;
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return fail(errno_error(open_error, program));
  }
  process_.assign(descriptor);
  pid_ = pid;
  running_ = call;
  return {};
}

void HookRunner::watch() {
  timer_.expires_after(limit_);
  // cancel() does not reach a wait that is over but not yet told: by then another hook may be running.
  timer_.async_wait([this, run = ++runs_](boost::system::error_code error) {
    if (error || idle() || run != runs_) return;
    log::warn("hook", "took too long and is killed", {{"event", running_.event}, {"limit", format_duration(limit_)}});
    kill_group();
  });
  process_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
    if (!error) on_exit();
  });
}

void HookRunner::on_exit() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  process_.close();
  timer_.cancel();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    log::debug("hook", "done", {{"event", running_.event}});
  } else if (WIFEXITED(status)) {
    log::warn("hook", "failed", {{"event", running_.event}, {"exit_code", WEXITSTATUS(status)}});
  } else {
    log::warn("hook", "ended by a signal", {{"event", running_.event}, {"signal", WTERMSIG(status)}});
  }
  handlers_.on_end(running_.event, running_.generation);
  start_next();
  if (idle()) handlers_.on_idle();
}

void HookRunner::kill_group() const {
  ::kill(-pid_, SIGKILL);
}

}  // namespace fleet::agent
