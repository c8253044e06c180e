#include "agent/runtime/status_socket.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/write.hpp>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
using Protocol = boost::asio::local::stream_protocol;

constexpr std::string_view kName = "agent.sock";
constexpr std::size_t kMaxAnswer = 1024 * 1024;
constexpr timeval kPatience{2, 0};

// A name for the socket that is short enough for the kernel, wherever the folder is. Good while `folder` is open.
std::string socket_name(const Fd& folder) {
  return fmt::format("/proc/self/fd/{}/{}", folder.get(), kName);
}

Result<Fd> open_folder(const fs::path& folder) {
  Fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(errno_error(errno, folder.string()));
  return fd;
}

}  // namespace

StatusServer::~StatusServer() {
  if (acceptor_.is_open()) ::unlink((state_dir_ / kName).c_str());
}

Result<void> StatusServer::start() {
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

void StatusServer::accept() {
  acceptor_.async_accept([this](boost::system::error_code error, Protocol::socket socket) {
    if (error == boost::asio::error::operation_aborted) return;
    if (error) return log::warn("agent", "status is not told any more", {{"error", error.message()}});
    const auto peer = std::make_shared<Protocol::socket>(std::move(socket));
    const auto answer = std::make_shared<std::string>(answer_());
    boost::asio::async_write(*peer, boost::asio::buffer(*answer),
                             [peer, answer](boost::system::error_code, std::size_t) {});
    accept();
  });
}

Result<AgentStatus> ask_agent(const fs::path& state_dir) {
  TRY_ASSIGN(const Fd folder, open_folder(state_dir));
  const std::string shown = (state_dir / kName).string();
  const std::string name = socket_name(folder);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail(errno_error(errno, shown));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  const auto silent = [&] { return fail(ErrorCode::kTimedOut, "{}: the agent does not answer", shown); };
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EAGAIN) return silent();
    if (errno == ECONNREFUSED) return fail(ErrorCode::kNotFound, "{}: no agent runs", shown);
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
  return parse_status(answer);
}

}  // namespace fleet::agent
