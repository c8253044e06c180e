#include "tests/support/process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <utility>

namespace fleet::test {
namespace {

std::filesystem::path temporary_file() {
  std::string pattern = (std::filesystem::temp_directory_path() / "fleet-output.XXXXXX").string();
  const int fd = ::mkstemp(pattern.data());
  if (fd < 0) throw std::runtime_error("mkstemp failed");
  ::close(fd);
  return pattern;
}

std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

pid_t spawn(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment, int in,
            int out, int err) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork failed");
  if (pid == 0) {
    // a test that dies takes its processes along
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);
    for (const auto& [key, value] : environment) ::setenv(key.c_str(), value.c_str(), 1);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  return pid;
}

int decode(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

Process::Process(Command command) : output_(command.output) {
  if (output_.empty()) {
    output_ = temporary_file();
    own_output_ = true;
  }
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = ::open(output_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  pid_ = spawn(command.arguments, command.environment, in, out, out);
  ::close(in);
  ::close(out);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      status_(other.status_),
      output_(std::move(other.output_)),
      own_output_(std::exchange(other.own_output_, false)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    std::swap(pid_, other.pid_);
    std::swap(status_, other.status_);
    std::swap(output_, other.output_);
    std::swap(own_output_, other.own_output_);
  }
  return *this;
}

Process::~Process() {
  if (pid_ > 0) kill();
  if (own_output_) {
    std::error_code ignored;
    std::filesystem::remove(output_, ignored);
  }
}

bool Process::running() { return pid_ > 0 && !wait(0ms); }

void Process::signal(int number) {
  if (running()) ::kill(pid_, number);
}

void Process::kill() {
  signal(SIGKILL);
  wait(10s);
}

std::optional<int> Process::wait(std::chrono::milliseconds limit) {
  if (status_) return status_;
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    int status = 0;
    const pid_t done = ::waitpid(pid_, &status, WNOHANG);
    if (done == pid_) {
      status_ = decode(status);
      return status_;
    }
    if (done < 0) {
      status_ = -1;
      return status_;
    }
    if (std::chrono::steady_clock::now() >= end) return std::nullopt;
    std::this_thread::sleep_for(5ms);
  }
}

int Process::stop(std::chrono::milliseconds limit) {
  signal(SIGTERM);
  if (const auto code = wait(limit)) return *code;
  kill();
  return status_.value_or(-1);
}

std::string Process::output() const { return slurp(output_); }

Outcome run(std::vector<std::string> arguments, std::string_view input, std::chrono::milliseconds limit,
            std::map<std::string, std::string> environment) {
  const auto in_path = temporary_file(), out_path = temporary_file(), err_path = temporary_file();
  std::ofstream(in_path, std::ios::binary).write(input.data(), static_cast<std::streamsize>(input.size()));
  const int in = ::open(in_path.c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(out_path.c_str(), O_WRONLY | O_CLOEXEC);
  const int err = ::open(err_path.c_str(), O_WRONLY | O_CLOEXEC);
  const pid_t pid = spawn(arguments, environment, in, out, err);
  for (const int fd : {in, out, err}) ::close(fd);
  Outcome outcome;
  const auto end = std::chrono::steady_clock::now() + limit;
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= end) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, &status, 0);
      status = -1;
      break;
    }
    std::this_thread::sleep_for(2ms);
  }
  outcome.exit_code = status == -1 ? -1 : decode(status);
  outcome.output = slurp(out_path);
  outcome.errors = slurp(err_path);
  std::error_code ignored;
  for (const auto& path : {in_path, out_path, err_path}) std::filesystem::remove(path, ignored);
  return outcome;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no free port");
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(20ms);
  }
  return true;
}

}  // namespace fleet::test
