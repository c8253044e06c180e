#include "agent/runtime/hook.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>

#include "agent/apply/generation.hpp"
#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

// posix_spawn's two option objects, destroyed with this.
struct SpawnOptions {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};

  // `output`: where stdout and stderr go.
  explicit SpawnOptions(int output) {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
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

// "NAME/VERSION NAME/VERSION": places below $FLEET_STATE_DIR/current/packages, none with a space in it.
std::string packages_in_force(const std::filesystem::path& state_dir) {
  std::string text;
  const auto record = read_generation_record(state_dir);
  if (!record) return text;
  for (const Package& package : record->packages) {
    if (!text.empty()) text += ' ';
    text += package.id.name + "/" + package.id.version;
  }
  return text;
}

// Our environment without what is meant for us alone.
std::vector<std::string> environment(const std::filesystem::path& state_dir, std::uint64_t generation) {
  std::vector<std::string> variables;
  for (char** variable = ::environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (text.starts_with("NOTIFY_SOCKET=") || text.starts_with("FLEET_")) continue;
    variables.emplace_back(text);
  }
  variables.push_back("FLEET_STATE_DIR=" + state_dir.string());
  variables.push_back("FLEET_GENERATION=" + std::to_string(generation));
  variables.push_back("FLEET_PACKAGES=" + packages_in_force(state_dir));
  return variables;
}

}  // namespace

HookRunner::HookRunner(boost::asio::io_context& io, std::filesystem::path program, std::filesystem::path state_dir,
                       Handlers handlers, Millis limit)
    : program_(std::move(program)),
      state_dir_(std::move(state_dir)),
      handlers_(std::move(handlers)),
      limit_(limit),
      io_(io),
      process_(io),
      timer_(io) {}

HookRunner::~HookRunner() {
  if (pid_ < 0) return;
  kill_group();
  ::waitpid(pid_, nullptr, 0);
}

void HookRunner::run(std::string event, std::uint64_t generation, Done done) {
  if (stopped_) return;
  if (program_.empty()) return tell(done, {});
  calls_.push_back({std::move(event), generation, std::move(done)});
  if (idle()) start_next();
}

// Later: never inside the call of run().
void HookRunner::tell(const Done& done, const Result<void>& outcome) {
  if (done) boost::asio::post(io_, [done, outcome] { done(outcome); });
}

void HookRunner::stop() {
  stopped_ = true;
  calls_.clear();
}

bool HookRunner::waits(const std::string& event) const {
  return std::any_of(calls_.begin(), calls_.end(), [&](const Call& call) { return call.event == event; });
}

void HookRunner::start_next() {
  while (idle() && !calls_.empty()) {
    Call call = std::move(calls_.front());
    calls_.pop_front();
    if (program_.empty()) {  // taken out of the settings since
      tell(call.done, {});
    } else if (const auto spawned = spawn(call); !spawned) {
      log::warn("hook", spawned.error().message, {{"event", call.event}});
      tell(call.done, spawned);
    } else {
      running_ = std::move(call);
      watch();
    }
  }
}

Result<void> HookRunner::spawn(const Call& call) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error(errno, program_.string()));
  Fd output(ends[0]);
  const Fd input(ends[1]);
  const SpawnOptions options(input.get());
  std::string program = program_.string();
  std::string event = call.event;
  char* arguments[] = {program.data(), event.data(), nullptr};
  std::vector<std::string> variables = environment(state_dir_, call.generation);
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
  too_slow_ = false;
  output_ = HookOutput::follow(io_, std::move(output));
  return {};
}

void HookRunner::watch() {
  timer_.expires_after(limit_);
  // cancel() does not reach a wait that is over but not yet told: by then another hook may be running.
  timer_.async_wait([this, run = ++runs_](boost::system::error_code error) {
    if (error || idle() || run != runs_) return;
    log::warn("hook", "took too long and is killed", {{"event", running_.event}, {"limit", format_duration(limit_)}});
    too_slow_ = true;
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
  const Result<void> outcome = outcome_of(status);
  const Call ended = std::exchange(running_, {});  // what is told of it may begin another one
  if (outcome) {
    log::debug("hook", "done", {{"event", ended.event}});
  } else {
    log::warn("hook", outcome.error().message, {{"event", ended.event}});
  }
  handlers_.on_end(ended.event, ended.generation);
  if (ended.done) ended.done(outcome);
  start_next();
  if (idle()) handlers_.on_idle();
}

Result<void> HookRunner::outcome_of(int status) {
  const std::string words = output_->last_words();
  output_.reset();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::string what = fmt::format("failed with exit code {}", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) what = fmt::format("ended by signal {}", WTERMSIG(status));
  if (too_slow_) what = fmt::format("took longer than {}", format_duration(limit_));
  return fail(too_slow_ ? ErrorCode::kTimedOut : ErrorCode::kUnavailable, "the hook {}{}{}", what,
              words.empty() ? "" : ": ", words);
}

void HookRunner::kill_group() const {
  ::kill(-pid_, SIGKILL);
}

}  // namespace fleet::agent
