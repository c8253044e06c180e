#include "agent/apply/package_helper.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "core/base/fd.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

using Progress = std::function<bool(std::uint64_t, std::uint64_t)>;

constexpr int kCancelPollMs = 200;
constexpr std::size_t kLongestLine = 64 * 1024;

// A running helper, killed by the destructor if it has not ended by itself.
class Helper {
 public:
  Helper(pid_t pid, Fd channel) : pid_(pid), channel_(std::move(channel)) {}
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  ~Helper() { end(); }

  // Says all of `job`, and that this is all.
  Result<void> say(std::string_view job) {
    while (!job.empty()) {
      const ssize_t sent = ::send(channel_.get(), job.data(), job.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) return died();
      job.remove_prefix(static_cast<std::size_t>(sent));
    }
    ::shutdown(channel_.get(), SHUT_WR);
    return {};
  }

  JobOutcome hear(const Progress& progress) {
    std::optional<JobProgress> last;
    for (;;) {
      TRY_ASSIGN(const std::optional<std::string> line, next_line());
      if (line) {
        auto report = parse_report(*line);
        if (!report) return fail(Error{ErrorCode::kInternal, "the package helper: " + report.error().message});
        if (auto* outcome = std::get_if<JobOutcome>(&*report)) return std::move(*outcome);
        last = std::get<JobProgress>(*report);
      }
      if (last && !progress(last->done, last->total)) return fail(ErrorCode::kUnavailable, "cancelled");
    }
  }

 private:
  // nullopt: nothing came for a while.
  Result<std::optional<std::string>> next_line() {
    for (;;) {
      if (const std::size_t end = heard_.find('\n'); end != std::string::npos) {
        std::string line = heard_.substr(0, end);
        heard_.erase(0, end + 1);
        return std::optional(std::move(line));
      }
      if (heard_.size() > kLongestLine) return fail(ErrorCode::kInternal, "the package helper says too much");
      pollfd ready{channel_.get(), POLLIN, 0};
      if (::poll(&ready, 1, kCancelPollMs) == 0) return std::optional<std::string>();
      std::array<char, 4096> buffer;
      const ssize_t got = ::recv(channel_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) heard_.append(buffer.data(), static_cast<std::size_t>(got));
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return died();
    }
  }

  // It has closed its end without an outcome. If it is ending already, it keeps its status.
  Failure died() {
    const int status = end();
    if (WIFSIGNALED(status)) {
      return fail(ErrorCode::kUnavailable, "the package helper was killed by signal {}", WTERMSIG(status));
    }
    return fail(ErrorCode::kInternal, "the package helper ended with exit code {} and no word", WEXITSTATUS(status));
  }

  // Kills it if it still runs; its wait status.
  int end() {
    if (pid_ < 0) return 0;
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  pid_t pid_;
  Fd channel_;
  std::string heard_;
};

// Starts `program` with `arguments` and one end of `channel` as its stdin and stdout; its pid.
Result<pid_t> spawn(const fs::path& program, std::vector<std::string> arguments, int channel) {
  arguments.insert(arguments.begin(), program.string());
  std::vector<char*> words;
  for (std::string& argument : arguments) words.push_back(argument.data());
  words.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&files, channel, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, channel, STDOUT_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
  sigset_t signals;
  ::sigemptyset(&signals);
  ::posix_spawnattr_setsigmask(&attributes, &signals);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), &files, &attributes, words.data(), ::environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    return fail(ErrorCode::kInternal, "{}: {}; without it no package can be fetched or unpacked", program.string(),
                std::strerror(error));
  }
  return pid;
}

JobOutcome run(const fs::path& program, std::vector<std::string> arguments, std::string_view job,
               const Progress& progress) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail(errno_error(errno, "socketpair"));
  Fd ours(ends[0]);
  Fd theirs(ends[1]);
  TRY_ASSIGN(const pid_t pid, spawn(program, std::move(arguments), theirs.get()));
  theirs.reset();
  Helper helper(pid, std::move(ours));
  TRY(helper.say(job));
  return helper.hear(progress);
}

}  // namespace

fs::path PackageHelper::installed() {
  std::error_code error;
  // of a program that was replaced since it says "… (deleted)", in the same folder
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return self.parent_path() / kPackageHelper;
}

Result<void> PackageHelper::download(const DownloadSource& source, const fs::path& file, const DownloadLimits& limits,
                                     const DownloadProgress& progress) const {
  TRY(run(program_, {std::string(kDownloadJob), file.string()}, to_json(DownloadJob{source, limits}), progress));
  return {};
}

Result<bool> PackageHelper::unpack(const fs::path& file, const fs::path& folder, const UnpackLimits& limits,
                                   const UnpackProgress& progress) const {
  return run(program_, {std::string(kUnpackJob), file.string(), folder.string()}, to_json(limits), progress);
}

}  // namespace fleet::agent
