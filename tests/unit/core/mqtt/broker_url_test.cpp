#include <string>

#include <doctest/doctest.h>

#include "core/mqtt/client.hpp"

using fleet::ErrorCode;
using fleet::mqtt::BrokerUrl;
using Scheme = fleet::mqtt::BrokerUrl::Scheme;

namespace {

void check_good(const std::string& text, Scheme scheme, const std::string& host, int port) {
  CAPTURE(text);
  const auto url = BrokerUrl::parse(text);
  REQUIRE(url);
  CHECK(url->scheme == scheme);
  CHECK(url->host == host);
  CHECK(url->port == port);
}

void check_bad(const std::string& text, const std::string& why) {
  CAPTURE(text);
  const auto url = BrokerUrl::parse(text);
  REQUIRE_FALSE(url);
  CHECK(url.error().code == ErrorCode::kInvalidArgument);
  CAPTURE(url.error().message);
  CHECK(url.error().message.find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("a broker URL names scheme, host and port, with the port of the scheme as default") {
  check_good("mqtts://broker.example:8884", Scheme::kMqtts, "broker.example", 8884);
  check_good("mqtts://broker.example", Scheme::kMqtts, "broker.example", 8883);
  check_good("mqtt://10.0.0.1", Scheme::kMqtt, "10.0.0.1", 1883);
  check_good("MQTTS://Broker_1", Scheme::kMqtts, "Broker_1", 8883);
  check_good("mqtts://[2001:db8::1]:1", Scheme::kMqtts, "2001:db8::1", 1);
  check_good("mqtt://[::1]", Scheme::kMqtt, "::1", 1883);
  check_good("mqtt://h:65535", Scheme::kMqtt, "h", 65535);
  check_good("unix:/run/broker.sock", Scheme::kUnix, "/run/broker.sock", 0);
}

TEST_CASE("a broker URL written out again reads as the same") {
  for (const char* text : {"mqtts://broker.example:8883", "mqtt://[2001:db8::1]:1883", "unix:/run/broker.sock"}) {
    CHECK(BrokerUrl::parse(text)->str() == text);
  }
  CHECK(BrokerUrl::parse("mqtts://h")->str() == "mqtts://h:8883");
}

TEST_CASE("what a broker URL cannot be is refused with the reason") {
  check_bad("", "must begin with");
  check_bad("broker.example", "must begin with");
  check_bad("broker.example:8883", "must begin with");
  check_bad("tcp://broker.example", "must begin with");
  check_bad("ssl://broker.example:8883", "must begin with");
  check_bad("mqtts:broker.example", "'//' is missing");
  check_bad("mqtts://", "host is missing");
  check_bad("mqtts://:8883", "host is missing");
  check_bad("mqtts://h:", "from 1 to 65535");
  check_bad("mqtts://h:0", "from 1 to 65535");
  check_bad("mqtts://h:65536", "from 1 to 65535");
  check_bad("mqtts://h:-1", "from 1 to 65535");
  check_bad("mqtts://h:+1", "from 1 to 65535");
  check_bad("mqtts://h:99999999999999999999", "from 1 to 65535");
  check_bad("mqtts://h:8883x", "from 1 to 65535");
  check_bad("mqtts://h/", "nothing may follow");
  check_bad("mqtts://h/path", "nothing may follow");
  check_bad("mqtts://h?a=b", "nothing may follow");
  check_bad("mqtts://h#f", "nothing may follow");
  check_bad("mqtts://2001:db8::1", "brackets");
  check_bad("mqtts://[2001:db8::1", "']' is missing");
  check_bad("mqtts://[2001:db8::1]8883", "only ':port'");
  check_bad("mqtts://[10.0.0.1]", "not an IPv6 address");
  check_bad("mqtts://[fe80::1%eth0]", "not an IPv6 address");
  check_bad("mqtts://300.1.1.1", "not a host name");
  check_bad("mqtts://1.2.3", "not a host name");
  check_bad("mqtts://a..b", "not a host name");
  check_bad("mqtts://-a", "not a host name");
  check_bad("mqtts://a%20b", "not a host name");
  check_bad("mqtts://" + std::string(64, 'a'), "not a host name");
  check_bad("mqtts://h h", "spaces and control");
  check_bad("mqtts://h\n", "spaces and control");
  check_bad(std::string("mqtts://h\0x", 11), "spaces and control");
  check_bad("unix:run/broker.sock", "must begin with '/'");
  check_bad("unix:", "must begin with '/'");
  check_bad("unix:/" + std::string(107, 'a'), "at most 107 bytes");
}

TEST_CASE("a password in a broker URL is refused and not repeated") {
  const auto url = BrokerUrl::parse("mqtts://user:hunter2@broker.example");
  REQUIRE_FALSE(url);
  CHECK(url.error().message.find("do not belong") != std::string::npos);
  CHECK(url.error().message.find("hunter2") == std::string::npos);
  CHECK(url.error().message.find("broker.example") != std::string::npos);
}
