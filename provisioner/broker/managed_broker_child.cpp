#include "provisioner/broker/managed_broker_child.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include "core/base/file.hpp"
#include "core/base/log.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> command_line(const fs::path& mosquitto, const ManagedBrokerSettings& settings) {
  return {mosquitto.string(), "-c", settings.configuration_file().string()};
}

// Ours, without what is meant for the provisioner alone: Mosquitto would report itself ready in its name.
std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    if (!text.starts_with("NOTIFY_SOCKET=") && !text.starts_with("LISTEN_") && !text.starts_with("WATCHDOG_")) {
      variables.emplace_back(text);
    }
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

// What the child needs; made before the fork, because the child of a threaded process may not allocate.
struct Plan {
  char** arguments;
  char** environment;
  BrokerUser user;
  int output;
  int input;
  pid_t parent;
};

// System calls only: no allocation, no locks.
[[noreturn]] void become_broker(const Plan& plan) {
  constexpr int kCannotStart = 127;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;  // a descriptor a device: the usual 1024 are few
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  if (plan.user.other) {
    // the raw calls: the library's ones want to tell threads that do not exist here
    const bool dropped = ::syscall(SYS_setgroups, 0, nullptr) == 0 && ::syscall(SYS_setgid, plan.user.gid) == 0 &&
                         ::syscall(SYS_setuid, plan.user.uid) == 0;
    if (!dropped) ::_exit(kCannotStart);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != plan.parent) ::_exit(kCannotStart);  // it died before the line above
  ::dup2(plan.input, STDIN_FILENO);
  ::dup2(plan.output, STDOUT_FILENO);
  ::dup2(plan.output, STDERR_FILENO);
  ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execve(plan.arguments[0], plan.arguments, plan.environment);
  ::_exit(kCannotStart);
}

Fd open_process(pid_t pid) {
  return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

void send(const Fd& process, int signal) {
  ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0);
}

bool ended_within(const Fd& process, Millis limit) {
  pollfd event{process.get(), POLLIN, 0};
  return ::poll(&event, 1, static_cast<int>(limit.count())) == 1;
}

// True if the process runs this program with exactly these arguments.
bool runs(const fs::path& proc, const fs::path& program, const std::string& arguments) {
  std::error_code error;
  std::string executable = fs::read_symlink(proc / "exe", error).string();
  // an upgrade of the package replaces the file below a running broker
  constexpr std::string_view kDeleted = " (deleted)";
  if (executable.ends_with(kDeleted)) executable.resize(executable.size() - kDeleted.size());
  if (error || executable != program) return false;
  const auto line = read_file(proc / "cmdline", 64 * 1024);
  return line && *line == arguments;
}

std::optional<pid_t> pid_of(const fs::path& proc) {
  const std::string name = proc.filename().string();
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return pid;
}

}  // namespace

Result<BrokerChild> spawn_broker(const fs::path& mosquitto, const ManagedBrokerSettings& settings) {
  TRY_ASSIGN(const BrokerUser user, broker_user(settings));
  std::array<int, 2> pipe_ends{};
  if (::pipe2(pipe_ends.data(), O_CLOEXEC) != 0) return fail(errno_error(errno, "broker: pipe"));
  BrokerChild child;
  child.output = Fd(pipe_ends[0]);
  const Fd output(pipe_ends[1]);
  const Fd input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto arguments = command_line(mosquitto, settings);
  auto variables = environment();
  auto argument_pointers = pointers(arguments);
  auto variable_pointers = pointers(variables);
  const Plan plan{argument_pointers.data(), variable_pointers.data(), user, output.get(), input.get(), ::getpid()};
  child.pid = ::fork();
  if (child.pid < 0) return fail(errno_error(errno, "broker: fork"));
  if (child.pid == 0) become_broker(plan);
  child.process = open_process(child.pid);
  if (!child.process) {
    const int error = errno;
    ::kill(child.pid, SIGKILL);
    return fail(errno_error(error, "broker: pidfd_open"));
  }
  return child;
}

Result<void> stop_stale_brokers(const fs::path& mosquitto, const ManagedBrokerSettings& settings, Millis patience) {
  std::string arguments;
  for (const std::string& argument : command_line(mosquitto, settings)) arguments += argument + '\0';
  std::error_code error;
  fs::directory_iterator processes("/proc", error);
  if (error) return fail(errno_error(error.value(), "/proc"));
  for (; processes != fs::directory_iterator(); processes.increment(error)) {
    const auto pid = pid_of(processes->path());
    if (!pid) continue;
    // the handle first, then the look: the number cannot pass to another process in between
    const Fd process = open_process(*pid);
    if (!process || !runs(processes->path(), mosquitto, arguments)) continue;
    log::warn("broker", "stopping a broker that an earlier provisioner left behind", {{"pid", *pid}});
    send(process, SIGTERM);
    if (ended_within(process, patience)) continue;
    send(process, SIGKILL);
    if (!ended_within(process, patience)) {
      return fail(ErrorCode::kConflict, "broker: process {} was left behind and cannot be stopped", *pid);
    }
  }
  return {};
}

Result<void> check_listener(const BrokerListener& listener) {
  using boost::asio::ip::tcp;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(listener.address, error);
  if (error) return fail(ErrorCode::kInvalidArgument, "{}: not an IP address to listen on", listener.address);
  boost::asio::io_context io;
  tcp::acceptor acceptor(io);
  const tcp::endpoint endpoint(address, static_cast<std::uint16_t>(listener.port));
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error && address.is_v6()) acceptor.set_option(boost::asio::ip::v6_only(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1, error);
  if (!error) return {};
  if (error == boost::asio::error::address_in_use) {
    return fail(ErrorCode::kConflict,
                "port {} is in use on {}: stop the program that listens there, or choose another port", listener.port,
                listener.address);
  }
  if (error == boost::system::errc::address_not_available) {
    return fail(ErrorCode::kInvalidArgument, "{}: no network interface has this address", listener.address);
  }
  return fail(errno_error(error.value(), fmt::format("listening on {} port {}", listener.address, listener.port)));
}

bool socket_accepts(const fs::path& socket) {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket.string();
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace fleet::provisioner
