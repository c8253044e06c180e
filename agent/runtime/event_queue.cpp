#include "agent/runtime/event_queue.hpp"

#include <utility>

#include <boost/asio/post.hpp>

namespace fleet::agent {

EventQueue::EventQueue(boost::asio::io_context& io, std::function<void(const Event&)> handle)
    : io_(io), state_(std::make_shared<State>()) {
  state_->handle = std::move(handle);
}

void EventQueue::feed(Event event, const std::uint64_t* epoch) {
  state_->pending.push_back({std::move(event), epoch, epoch != nullptr ? *epoch : 0});
  schedule();
}

void EventQueue::feed_first(Event event) {
  state_->pending.push_front({std::move(event)});
  schedule();
}

void EventQueue::drop(const std::uint64_t* epoch) {
  std::erase_if(state_->pending, [epoch](const Pending& one) { return one.epoch == epoch; });
}

void EventQueue::schedule() {
  if (std::exchange(state_->scheduled, true)) return;
  boost::asio::post(io_, [weak = std::weak_ptr(state_)] { hand_over(weak); });
}

void EventQueue::hand_over(const std::weak_ptr<State>& weak) {
  const auto state = weak.lock();
  if (!state) return;
  state->scheduled = false;
  while (!state->pending.empty() && !state->stopped) {
    const Pending next = std::move(state->pending.front());
    state->pending.pop_front();
    if (next.epoch == nullptr || *next.epoch == next.born) state->handle(next.event);
  }
}

}  // namespace fleet::agent
