#include "provisioner/broker/mosquitto_log.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

TEST_CASE("a client that does not take our certificate is told of in plain words") {
  const auto line = read_broker_log("OpenSSL Error[0]: error:0A000418:SSL routines::tlsv1 alert unknown ca");
  CHECK(line.level == log::Level::kWarn);
  CHECK(line.text == "a client refused our certificate (unknown ca): does it have the platform's root?");
}

TEST_CASE("any other failure of TLS is a warning without its numbers") {
  const auto line = read_broker_log("OpenSSL Error[0]: error:0A00010B:SSL routines::wrong version number");
  CHECK(line.level == log::Level::kWarn);
  CHECK(line.text == "TLS with a client failed: wrong version number");
  CHECK(read_broker_log("OpenSSL Error").text == "TLS with a client failed: OpenSSL Error");
}

TEST_CASE("errors and warnings of the broker keep their level, and all else is information") {
  CHECK(read_broker_log("Error: Address already in use").level == log::Level::kError);
  CHECK(read_broker_log("Warning: something").level == log::Level::kWarn);
  CHECK(read_broker_log("mosquitto version 2.0.11 running").level == log::Level::kInfo);
  CHECK(read_broker_log("").level == log::Level::kInfo);
}

TEST_CASE("that a unix socket has no TCP_NODELAY is no warning") {
  CHECK(read_broker_log("Warning: Unable to set TCP_NODELAY.").level == log::Level::kDebug);
}

TEST_CASE("of a flood of TLS failures ten a minute are told and the others counted; nothing else is held back") {
  BrokerLog log;
  const SteadyTime start = SteadyTime() + Seconds(1000);
  std::size_t lines = 0;
  for (int i = 0; i < 5000; ++i) {
    lines += log.read("OpenSSL Error[0]: error:0A00010B:SSL routines::wrong version number", start).size();
  }
  CHECK(lines == 10);
  CHECK(log.read("Error: Address already in use", start + Seconds(59)).size() == 1);
  const auto later = log.read("OpenSSL Error[0]: error:0A00010B:SSL routines::wrong version number", start + Seconds(60));
  REQUIRE(later.size() == 2);
  CHECK(later[0].level == log::Level::kWarn);
  CHECK(later[0].text == "4990 more failures of TLS");
  CHECK(later[1].text == "TLS with a client failed: wrong version number");
  CHECK(log.read("mosquitto version 2.0.11 running", start + Seconds(300)).size() == 1);
}
