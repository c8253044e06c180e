#include "provisioner/owner/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "core/base/fd.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::size_t kKeptErrors = 500;
constexpr int kPollMillis = 100;

// Two ends of a pipe-like socket: unlike with a pipe, writing to a program that has gone is an error, not a signal.
struct Channel {
  Fd ours, theirs;
};

Result<Channel> make_channel() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail(errno_error(errno, "socketpair"));
  Channel channel{Fd(ends[0]), Fd(ends[1])};
  if (::fcntl(channel.ours.get(), F_SETFL, O_NONBLOCK) != 0) return fail(errno_error(errno, "fcntl"));
  return channel;
}

struct SpawnActions {
  SpawnActions() { ::posix_spawn_file_actions_init(&actions); }
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t actions{};
};

struct SpawnAttributes {
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes);
    sigset_t none, usual;
    ::sigemptyset(&none);
    ::sigfillset(&usual);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &usual);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  posix_spawnattr_t attributes{};
};

Result<pid_t> spawn(const std::vector<std::string>& command, const Channel& input, const Channel& errors) {
  SpawnActions actions;
  ::posix_spawn_file_actions_adddup2(&actions.actions, input.theirs.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_addopen(&actions.actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions.actions, errors.theirs.get(), STDERR_FILENO);
  // sockets of devices and operators, and ports that a restarted service needs, are nothing for it to hold
  ::posix_spawn_file_actions_addclosefrom_np(&actions.actions, STDERR_FILENO + 1);
  const SpawnAttributes attributes;
  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::array<std::string, 2> variables{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
  std::array<char*, 3> environment{variables[0].data(), variables[1].data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, command.front().c_str(), &actions.actions, &attributes.attributes,
                                  arguments.data(), environment.data());
  if (error != 0) return fail(errno_error(error, command.front()));
  return pid;
}

// A child of ours: whatever happens, it is killed with its group and reaped.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    ::kill(-pid_, SIGKILL);
    if (!ended_) ::waitpid(pid_, &status_, 0);
  }
  bool has_ended() {
    if (!ended_) ended_ = ::waitpid(pid_, &status_, WNOHANG) == pid_;
    return ended_;
  }
  int status() const { return status_; }

 private:
  pid_t pid_;
  int status_ = 0;
  bool ended_ = false;
};

// Writes what still fits; closes the channel when all is written or nobody reads.
void feed(Fd& to, std::string_view& rest) {
  while (to && !rest.empty()) {
    const ssize_t sent = ::send(to.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) rest = {};
    if (sent > 0) rest.remove_prefix(static_cast<std::size_t>(sent));
  }
  if (rest.empty()) to.reset();
}

void drain(const Fd& from, std::string& kept) {
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t got = ::recv(from.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    kept.append(buffer.data(), std::min(static_cast<std::size_t>(got), kKeptErrors - std::min(kept.size(), kKeptErrors)));
  }
}

std::string on_one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text;
}

}  // namespace

Result<CommandResult> run_command(const std::vector<std::string>& command, const Secret& input, Seconds limit,
                                  const std::atomic<bool>& stopping) {
  TRY_ASSIGN(Channel in, make_channel());
  TRY_ASSIGN(Channel errors, make_channel());
  TRY_ASSIGN(const pid_t pid, spawn(command, in, errors));
  in.theirs.reset();
  errors.theirs.reset();
  Child child(pid);
  CommandResult result;
  std::string_view rest = input.reveal();
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!child.has_ended()) {
    if (stopping) return fail(ErrorCode::kUnavailable, "{}: ended early: the service stops", command.front());
    if (std::chrono::steady_clock::now() >= end) {
      return fail(ErrorCode::kTimedOut, "{}: not done after {}", command.front(), format_duration(limit));
    }
    feed(in.ours, rest);
    pollfd wait{errors.ours.get(), POLLIN, 0};
    ::poll(&wait, 1, kPollMillis);
    drain(errors.ours, result.errors);
    // its end of stderr is closed: poll would not wait any more
    if ((wait.revents & POLLHUP) != 0) ::poll(nullptr, 0, 5);
  }
  drain(errors.ours, result.errors);
  result.errors = on_one_line(std::move(result.errors));
  if (!WIFEXITED(child.status())) {
    return fail(ErrorCode::kUnavailable, "{}: ended by signal {}", command.front(), WTERMSIG(child.status()));
  }
  result.exit_code = WEXITSTATUS(child.status());
  return result;
}

}  // namespace fleet::provisioner
