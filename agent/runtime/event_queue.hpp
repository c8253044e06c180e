// Events on their way to a session.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>

#include "agent/session/session.hpp"

namespace fleet::agent {

// Hands over one event after the other, in order, and never inside the call that brought it: effects may destroy what the
// caller still stands on. Single-threaded, on the thread of the io_context; may be destroyed at any time but inside
// `handle`.
class EventQueue {
 public:
  EventQueue(boost::asio::io_context& io, std::function<void(const Event&)> handle);

  // `epoch`: of the connection that the event comes from; if it has moved on when it is the event's turn, the event is
  // void. It must live until then, or until drop().
  void feed(Event event, const std::uint64_t* epoch = nullptr);
  // Before all others.
  void feed_first(Event event);
  // Forgets the events of that connection.
  void drop(const std::uint64_t* epoch);
  // Hands over nothing any more.
  void stop() { state_->stopped = true; }

 private:
  struct Pending {
    Event event;
    const std::uint64_t* epoch = nullptr;
    std::uint64_t born = 0;
  };
  struct State {
    std::function<void(const Event&)> handle;
    std::deque<Pending> pending;
    bool scheduled = false;
    bool stopped = false;
  };
  static void hand_over(const std::weak_ptr<State>& weak);
  void schedule();

  boost::asio::io_context& io_;
  std::shared_ptr<State> state_;
};

}  // namespace fleet::agent
