#include "agent/runtime/hook_output.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace fleet::agent {
namespace {

constexpr std::size_t kTail = 2048;
constexpr std::size_t kLongest = 300;

}  // namespace

HookOutput::HookOutput(boost::asio::io_context& io, Fd pipe) : pipe_(io) {
  // a descriptor without O_NONBLOCK would make read() wait for a process in the background
  ::fcntl(pipe.get(), F_SETFL, ::fcntl(pipe.get(), F_GETFL) | O_NONBLOCK);
  pipe_.assign(pipe.release());
}

std::shared_ptr<HookOutput> HookOutput::follow(boost::asio::io_context& io, Fd pipe) {
  auto output = std::make_shared<HookOutput>(io, std::move(pipe));
  output->wait();
  return output;
}

void HookOutput::wait() {
  pipe_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                   [self = shared_from_this()](boost::system::error_code error) {
                     if (error) return;
                     self->read();
                     if (!self->ended_) self->wait();
                   });
}

bool HookOutput::read() {
  if (ended_) return false;
  const ssize_t got = ::read(pipe_.native_handle(), buffer_.data(), buffer_.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    ended_ = true;
    return false;
  }
  const std::string_view text(buffer_.data(), static_cast<std::size_t>(got));
  // best effort: a log that nobody takes is no reason to stop
  static_cast<void>(::write(STDERR_FILENO, text.data(), text.size()) < 0);
  tail_.append(text);
  if (tail_.size() > kTail) tail_.erase(0, tail_.size() - kTail);
  return true;
}

std::string HookOutput::last_words() {
  // a child that writes without end does not hold us up
  for (int i = 0; i < 64 && read(); ++i) {
  }
  std::string_view text = tail_;
  text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
  text.remove_prefix(text.find_last_of("\r\n") + 1);  // npos + 1 is 0
  return std::string(text.substr(text.size() - std::min(text.size(), kLongest)));
}

}  // namespace fleet::agent
