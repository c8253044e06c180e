// What Mosquitto writes, as lines of our own log. Private to provisioner/broker.
#pragma once

#include <string>
#include <string_view>

#include "core/base/log.hpp"

namespace fleet::provisioner {

struct BrokerLogLine {
  log::Level level;
  std::string text;
};

// `line` is one line of its stderr, without the line end.
BrokerLogLine read_broker_log(std::string_view line);

}  // namespace fleet::provisioner
