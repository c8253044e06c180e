#include "agent/runtime/broker_turn.hpp"

#include <algorithm>

namespace fleet::agent {

BrokerTurn::BrokerTurn(std::vector<mqtt::BrokerUrl> urls) {
  for (mqtt::BrokerUrl& url : urls) brokers_.push_back({std::move(url), std::nullopt, false});
}

Error BrokerTurn::failed(const Error& error, WallTime now) {
  note(error, now);
  pass();
  if (brokers_.size() == 1) return error;
  Error all{ErrorCode::kUnauthenticated, ""};
  for (const Broker& broker : brokers_) {
    if (!broker.failure) continue;
    if (!all.message.empty()) all.message += "; ";
    all.message += broker.failure->what;
    if (!broker.untrusted) all.code = ErrorCode::kUnavailable;
  }
  return all;
}

void BrokerTurn::refused(const Error& error, WallTime now) {
  note(error, now);
  pass();
}

void BrokerTurn::works() {
  brokers_[turn_].failure.reset();
  brokers_[turn_].untrusted = false;
}

void BrokerTurn::pass() {
  turn_ = (turn_ + 1) % brokers_.size();
}

// Errors of a connection mostly name the broker already.
void BrokerTurn::note(const Error& error, WallTime now) {
  Broker& broker = brokers_[turn_];
  const std::string url = broker.url.str();
  const bool named = error.message.find(url) != std::string::npos;
  const std::string what = named ? error.message : fmt::format("{}: {}", url, error.message);
  if (!broker.failure || broker.failure->what != what) broker.failure = Failure{now, what};
  broker.untrusted = error.code == ErrorCode::kUnauthenticated;
}

}  // namespace fleet::agent
