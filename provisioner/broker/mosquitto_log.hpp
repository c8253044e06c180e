// What Mosquitto writes, as lines of our own log. Private to provisioner/broker.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/log.hpp"
#include "core/base/time.hpp"

namespace fleet::provisioner {

struct BrokerLogLine {
  log::Level level;
  std::string text;
};

// `line` is one line of its stderr, without the line end.
BrokerLogLine read_broker_log(std::string_view line);

// All that a broker says, in turn. Anybody who reaches the port can make TLS fail: of those lines ten a minute are kept
// and the others counted. Not thread-safe.
class BrokerLog {
 public:
  // What to write for one line of its stderr; nothing, or two lines, if failures of TLS were left out.
  std::vector<BrokerLogLine> read(std::string_view line, SteadyTime now);

 private:
  SteadyTime minute_{};  // began then
  int shown_ = 0;        // failures of TLS in this minute
  std::uint64_t left_out_ = 0;
};

}  // namespace fleet::provisioner
