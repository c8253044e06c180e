#include "core/protocol/topic.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::protocol;

TEST_CASE("names have exactly the forms of the protocol") {
  CHECK(is_client_id("02FC00000001"));
  CHECK(is_client_id("aZ09_:@=-"));
  CHECK(is_client_id(std::string(64, 'x')));
  for (const std::string bad : {"", "a b", "a/b", "a+b", "#", "a.b", "ä", "a\n", "$a"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_client_id(bad));
    CHECK_FALSE(is_account(bad));
  }
  CHECK_FALSE(is_client_id(std::string(65, 'x')));
  CHECK_FALSE(is_client_id(std::string("a\0b", 3)));
  CHECK(is_account("ec-provisioning_1"));
  CHECK_FALSE(is_account("a:b"));
  CHECK_FALSE(is_account(std::string(65, 'x')));
  CHECK(is_request_id("a.b:c-d_9"));
  CHECK(is_request_id(std::string(64, 'f')));
  for (const std::string bad : {"", "a@b", "a=b", "a/b", "a+b"}) CHECK_FALSE(is_request_id(bad));
  CHECK_FALSE(is_request_id(std::string(65, 'f')));
}

TEST_CASE("the four kinds of topic are told apart and written back as they were") {
  const auto round_trip = [](std::string_view text) {
    auto topic = parse_topic(text);
    REQUIRE(topic);
    CHECK(std::visit([](const auto& t) { return t.str(); }, *topic) == text);
    return std::move(*topic);
  };
  CHECK(round_trip("$EDC/provision/02FC/KEYS-V1/POST/keystores/entries/csr") ==
        Topic(RequestTopic{"provision", "02FC", "KEYS-V1", "POST", "keystores/entries/csr"}));
  CHECK(round_trip("$EDC/provision/02FC/CONF-V1/PUT/configurations") ==
        Topic(RequestTopic{"provision", "02FC", "CONF-V1", "PUT", "configurations"}));
  CHECK(round_trip("$EDC/provision/provisioner-1/CONF-V1/REPLY/9f86") ==
        Topic(ReplyTopic{"provision", "provisioner-1", "CONF-V1", "9f86"}));
  CHECK(round_trip("$EDC/provision/provisioner-1/DEPLOY-V2/NOTIFY/02FC/install") ==
        Topic(NotifyTopic{"provision", "provisioner-1", "DEPLOY-V2", "02FC", "install"}));
  CHECK(round_trip("$EDC/provision/02FC/MQTT/PROV") == Topic(LifecycleTopic{"provision", "02FC", "PROV"}));
  // a device may be named like a keyword
  CHECK(round_trip("$EDC/REPLY/NOTIFY/PUT/GET/MQTT") == Topic(RequestTopic{"REPLY", "NOTIFY", "PUT", "GET", "MQTT"}));
}

TEST_CASE("topics that are none of the four are malformed") {
  for (const std::string bad : {"",
                                "/",
                                "$EDC",
                                "$EDC/",
                                "$EDC/a",
                                "$EDC/a/b",
                                "$EDC/a/b/c",
                                "$EDC/a/b/MQTT",
                                "$EDC/a/b/MQTT/",
                                "$EDC/a/b/c/PUT",
                                "$EDC/a/b/c/PUT/",
                                "$EDC/a/b/c/HEAD/r",
                                "$EDC/a/b/c/put/r",
                                "$EDC/a/b/c/REPLY",
                                "$EDC/a/b/c/REPLY/r/s",
                                "$EDC/a/b/c/NOTIFY/d",
                                "$EDC//b/c/PUT/r",
                                "$EDC/a//c/PUT/r",
                                "$EDC/a/b/c/PUT/r//s",
                                "$EDC/a/b/c/PUT/r/",
                                "/$EDC/a/b/c/PUT/r",
                                "EDC/a/b/c/PUT/r",
                                "$edc/a/b/c/PUT/r",
                                "$EDC/a/+/c/PUT/r",
                                "$EDC/a/b/c/PUT/#",
                                "$EDC/a/b/c/PUT/r+s",
                                "$EDC/a/b/MQTT/PROV/x",
                                "$SYS/broker/load",
                                "$EDC/a/b\xff/c/PUT/r"}) {
    CAPTURE(bad);
    const auto topic = parse_topic(bad);
    REQUIRE_FALSE(topic);
    CHECK(topic.error().code == ErrorCode::kMalformed);
  }
  CHECK_FALSE(parse_topic(std::string_view("$EDC/a/b\0/c/PUT/r", 17)));
}

TEST_CASE("a device subscribes to its own tree") {
  CHECK(device_filter("acc", "dev") == "$EDC/acc/dev/#");
}
