// Whose turn it is among several provision brokers, and what came of the others. No I/O.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/session/session.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {

// The turn passes with every try that fails and with every attempt that ends, never while the platform behind a broker
// is in the middle of one: a connection that is lost then is made again to the same broker first.
class BrokerTurn {
 public:
  struct Broker {
    mqtt::BrokerUrl url;
    std::optional<Failure> failure;  // of the last try; none before the first one and after one that worked
    bool untrusted = false;          // that failure: its certificate
  };

  // `urls` is not empty.
  explicit BrokerTurn(std::vector<mqtt::BrokerUrl> urls);

  // Whose turn it is now.
  const mqtt::BrokerUrl& url() const { return brokers_[turn_].url; }
  std::size_t index() const { return turn_; }
  std::span<const Broker> brokers() const { return brokers_; }

  // The one whose turn it is could not be reached, was not trusted (kUnauthenticated) or failed us: the next one's turn.
  // Returns what is to be told of it: with several brokers all that have failed so far, so that a trouble that lasts
  // has one text however often the turn goes round.
  Error failed(const Error& error, WallTime now);
  // It has refused us; told as it is, the next one's turn.
  void refused(const Error& error, WallTime now);
  // It took us.
  void works();
  // The attempt with it is over.
  void pass();

 private:
  void note(const Error& error, WallTime now);

  std::vector<Broker> brokers_;
  std::size_t turn_ = 0;
};

}  // namespace fleet::agent
