// What a hook writes: passed on to our stderr, and its end kept for whoever must be told why the hook has failed.
#pragma once

#include <array>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include "core/base/fd.hpp"

namespace fleet::agent {

// Lives, held by the io_context, until nobody can write any more: a process that the hook has left in the background
// keeps an stdout that works. On the thread of the io_context.
class HookOutput : public std::enable_shared_from_this<HookOutput> {
 public:
  // `pipe`: the end to read from.
  static std::shared_ptr<HookOutput> follow(boost::asio::io_context& io, Fd pipe);

  // The last line that is not empty of what has been written so far, at most 300 bytes.
  std::string last_words();

  HookOutput(boost::asio::io_context& io, Fd pipe);  // for follow()

 private:
  void wait();
  bool read();  // false: nothing more for now, or for good

  boost::asio::posix::stream_descriptor pipe_;
  std::array<char, 4096> buffer_{};
  std::string tail_;
  bool ended_ = false;
};

}  // namespace fleet::agent
