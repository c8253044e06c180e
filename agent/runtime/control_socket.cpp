#include "agent/runtime/control_socket.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using Protocol = boost::asio::local::stream_protocol;

constexpr std::string_view kName = "agent.sock";
constexpr std::string_view kStatus = "status";
constexpr std::string_view kRollback = "rollback";
constexpr std::size_t kMaxCommand = 64;
constexpr std::size_t kMaxAnswer = 1024 * 1024;
constexpr Seconds kPatience{2};          // with a peer that does not say what it wants, or an agent that does not answer
constexpr Seconds kRollbackPatience{120};  // two hooks that take as long as they may, and some

// A name for the socket that is short enough for the kernel, wherever the folder is. Good while `folder` is open.
std::string socket_name(const Fd& folder) {
  return fmt::format("/proc/self/fd/{}/{}", folder.get(), kName);
}

Result<Fd> open_folder(const fs::path& folder) {
  Fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(errno_error(errno, folder.string()));
  return fd;
}

// --- what came of a rollback, as text

std::string to_json(const Result<std::uint64_t>& generation) {
  if (generation) return json::serialize(json::object{{"generation", *generation}});
  const json::object error{{"code", to_string(generation.error().code)}, {"message", generation.error().message}};
  return json::serialize(json::object{{"error", error}});
}

ErrorCode parse_code(std::string_view name) {
  for (int i = 0; i < static_cast<int>(ErrorCode::kInternal); ++i) {
    if (to_string(static_cast<ErrorCode>(i)) == name) return static_cast<ErrorCode>(i);
  }
  return ErrorCode::kInternal;
}

Result<std::uint64_t> parse_rollback(std::string_view text) try {
  const json::object object = json::parse({text.data(), text.size()}).as_object();
  if (const json::value* error = object.if_contains("error")) {
    const json::object& what = error->as_object();
    return fail(Error{parse_code(what.at("code").as_string()), std::string(what.at("message").as_string())});
  }
  return object.at("generation").to_number<std::uint64_t>();
} catch (const std::exception& exception) {
  return fail(ErrorCode::kMalformed, "the agent's answer: {}", exception.what());
}

// --- the asking side

// Sends `command` to the agent that runs on `state_dir`; its whole answer, or nullopt if none runs.
Result<std::optional<std::string>> ask(const fs::path& state_dir, std::string_view command, Seconds patience) {
  const auto nobody = [] { return std::optional<std::string>(); };
  const auto folder = open_folder(state_dir);
  if (!folder && folder.error().code == ErrorCode::kNotFound) return nobody();
  if (!folder) return fail(folder.error());
  const std::string shown = (state_dir / kName).string();
  const std::string name = socket_name(*folder);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail(errno_error(errno, shown));
  const timeval limit{patience.count(), 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const auto silent = [&] { return fail(ErrorCode::kTimedOut, "{}: the agent does not answer", shown); };
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EAGAIN) return silent();
    if (errno == ECONNREFUSED || errno == ENOENT) return nobody();
    return fail(errno_error(errno, shown));
  }
  const std::string line = fmt::format("{}\n", command);
  if (::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return fail(errno_error(errno, shown));
  }
  std::string answer;
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return silent();
    if (got < 0) return fail(errno_error(errno, shown));
    if (got == 0) break;
    answer.append(buffer, static_cast<std::size_t>(got));
    if (answer.size() > kMaxAnswer) return fail(ErrorCode::kMalformed, "{}: too long an answer", shown);
  }
  if (answer.empty()) return fail(ErrorCode::kUnavailable, "{}: the agent has ended before it answered", shown);
  return std::optional(std::move(answer));
}

}  // namespace

struct ControlServer::Peer {
  explicit Peer(Protocol::socket connection) : socket(std::move(connection)), patience(socket.get_executor()) {}

  Protocol::socket socket;
  boost::asio::steady_timer patience;
  std::string command;
  std::string answer;
};

ControlServer::~ControlServer() {
  if (acceptor_.is_open()) ::unlink((state_dir_ / kName).c_str());
}

Result<void> ControlServer::start() {
  const std::string shown = (state_dir_ / kName).string();
  TRY_ASSIGN(const Fd folder, open_folder(state_dir_));
  TRY(fleet::remove_all(state_dir_ / kName));
  boost::system::error_code error;
  acceptor_.open(Protocol(), error);
  // before bind(), so that it is born with that mode
  if (!error && ::fchmod(acceptor_.native_handle(), kPrivateFile) != 0) error.assign(errno, boost::system::system_category());
  if (!error) acceptor_.bind(Protocol::endpoint(socket_name(folder)), error);
  if (!error) acceptor_.listen(boost::asio::socket_base::max_listen_connections, error);
  if (error) {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    return fail(errno_error(error.value(), shown));
  }
  accept();
  return {};
}

void ControlServer::accept() {
  acceptor_.async_accept([this](boost::system::error_code error, Protocol::socket socket) {
    if (error == boost::asio::error::operation_aborted) return;
    if (error) return log::warn("agent", "`status` and `rollback` are not heard any more", {{"error", error.message()}});
    listen(std::make_shared<Peer>(std::move(socket)));
    accept();
  });
}

void ControlServer::listen(const std::shared_ptr<Peer>& peer) {
  peer->patience.expires_after(kPatience);
  peer->patience.async_wait([peer](boost::system::error_code error) {
    boost::system::error_code ignored;
    if (!error) peer->socket.close(ignored);
  });
  boost::asio::async_read_until(peer->socket, boost::asio::dynamic_buffer(peer->command, kMaxCommand), '\n',
                                [this, peer](boost::system::error_code error, std::size_t length) {
                                  peer->patience.cancel();
                                  if (error) return;
                                  peer->command.resize(length - 1);  // without the line break
                                  obey(peer);
                                });
}

void ControlServer::obey(const std::shared_ptr<Peer>& peer) {
  const auto answer = [peer](std::string text) {
    peer->answer = std::move(text);
    boost::asio::async_write(peer->socket, boost::asio::buffer(peer->answer),
                             [peer](boost::system::error_code, std::size_t) {});
  };
  if (peer->command == kStatus) return answer(to_json(handlers_.status()));
  const RolledBackTo done = [answer](const Result<std::uint64_t>& generation) { answer(to_json(generation)); };
  if (peer->command == kRollback) return handlers_.roll_back(done);
  done(fail(ErrorCode::kUnsupported, "'{}': no such command; there are {} and {}", peer->command, kStatus, kRollback));
}

Result<AgentStatus> ask_agent(const fs::path& state_dir) {
  TRY_ASSIGN(const auto answer, ask(state_dir, kStatus, kPatience));
  if (!answer) return fail(ErrorCode::kNotFound, "{}: no agent runs", state_dir.string());
  return parse_status(*answer);
}

Result<std::optional<std::uint64_t>> ask_to_roll_back(const fs::path& state_dir) {
  TRY_ASSIGN(const auto answer, ask(state_dir, kRollback, kRollbackPatience));
  if (!answer) return std::optional<std::uint64_t>();
  TRY_ASSIGN(const std::uint64_t generation, parse_rollback(*answer));
  return std::optional(generation);
}

}  // namespace fleet::agent
