// provision-agent-packages: carries out one job of the agent's, see agent/apply/package_job.hpp. Not for people.
#include <cerrno>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/apply/package_job.hpp"

namespace fleet::agent {
namespace {

constexpr int kUsage = 64;  // EX_USAGE
constexpr Millis kTellPause{100};

bool say(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, line.data(), line.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    line.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

Result<std::string> read_job() {
  std::string job;
  char buffer[4096];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(errno, "package job"));
    if (got == 0) return job;
    job.append(buffer, static_cast<std::size_t>(got));
  }
}

// Tells what has changed, not too often; false once nobody listens.
class Teller {
 public:
  bool operator()(std::uint64_t done, std::uint64_t total) {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (done_ == done || (done_ && now - told_ < kTellPause)) return true;
    done_ = done;
    told_ = now;
    return say(to_line(JobProgress{done, total}));
  }

 private:
  std::optional<std::uint64_t> done_;
  SteadyTime told_{};
};

JobOutcome carry_out(int count, char** words) {
  const std::string_view kind = words[1];
  TRY_ASSIGN(const std::string text, read_job());
  const auto progress = [teller = Teller()](std::uint64_t done, std::uint64_t total) mutable {
    return teller(done, total);
  };
  if (kind == kDownloadJob && count == 3) {
    TRY_ASSIGN(const DownloadJob job, parse_download_job(text));
    TRY(download(job.source, words[2], job.limits, progress));
    return false;
  }
  TRY_ASSIGN(const UnpackLimits limits, parse_unpack_job(text));
  return unpack(words[2], words[3], limits, progress);
}

int run(int count, char** words) {
  // Nobody else may write where the next agent will.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  const std::string_view kind = count > 1 ? words[1] : "";
  if (!((kind == kDownloadJob && count == 3) || (kind == kUnpackJob && count == 4))) {
    static constexpr std::string_view kWhat = "provision-agent-packages is run by provision-agent\n";
    static_cast<void>(::write(STDERR_FILENO, kWhat.data(), kWhat.size()));
    return kUsage;
  }
  return say(to_line(carry_out(count, words))) ? 0 : 1;
}

}  // namespace
}  // namespace fleet::agent

int main(int count, char** words) {
  try {
    return fleet::agent::run(count, words);
  } catch (const std::exception& exception) {  // no memory, most likely
    fleet::agent::say(fleet::agent::to_line(fleet::agent::JobOutcome(
        fleet::fail(fleet::ErrorCode::kInternal, "internal error: {}", exception.what()))));
    return 1;
  }
}
