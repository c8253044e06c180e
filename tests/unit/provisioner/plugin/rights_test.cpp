#include "provisioner/plugin/rights.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace fleet::provisioner::plugin;

namespace {

const ProvisionNames kNames{"acme", "prov"};

bool publish(std::string_view topic, bool retain = false) {
  return device_may(kNames, "gw-1", {Access::kPublish, topic, retain});
}
bool subscribe(std::string_view filter) {
  return device_may(kNames, "gw-1", {Access::kSubscribe, filter});
}
bool receive(std::string_view topic) {
  return device_may(kNames, "gw-1", {Access::kReceive, topic});
}

}  // namespace

TEST_CASE("a device publishes its lifecycle, replies and deploy notifications") {
  for (const char* topic :
       {"$EDC/acme/gw-1/MQTT/PROV", "$EDC/acme/gw-1/MQTT/DC", "$EDC/acme/gw-1/MQTT/LWT", "$EDC/acme/gw-1/MQTT/a/b",
        "$EDC/acme/prov/CERT-V1/REPLY/r1", "$EDC/acme/prov/KEYS-V1/REPLY/r1", "$EDC/acme/prov/KEYS-V2/REPLY/r1",
        "$EDC/acme/prov/DEPLOY-V1/REPLY/r1", "$EDC/acme/prov/DEPLOY-V2/REPLY/r1", "$EDC/acme/prov/CONF-V1/REPLY/r1",
        "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-1/download", "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-1/a/b"}) {
    CAPTURE(topic);
    CHECK(publish(topic));
    CHECK_FALSE(publish(topic, true));
  }
}

TEST_CASE("a device publishes no topic that would be too long with the plugin's prefix") {
  const std::string prefix = "$EDC/acme/gw-1/MQTT/";
  CHECK(publish((prefix + std::string(1024 - prefix.size(), 'x')).c_str()));
  CHECK_FALSE(publish((prefix + std::string(1025 - prefix.size(), 'x')).c_str()));
  CHECK_FALSE(publish((prefix + std::string(65'000, 'x')).c_str()));
  CHECK(reportable(prefix + std::string(65'000, 'x')).size() < 256);
}

TEST_CASE("a device publishes nothing else") {
  for (const char* topic :
       {"", "x", "acme/gw-1/data", "$EDC", "$EDC/acme/gw-1", "$EDC/acme/gw-1/", "$EDC/acme/gw-1/MQTT",
        "$EDC/acme/gw-1/MQTT/", "$EDC/acme/gw-1/CONF-V1/PUT/configurations", "$EDC/acme/gw-1/PROV-V1/REPLY/r1",
        "$EDC/acme/gw-2/MQTT/PROV", "$EDC/acme/gw-11/MQTT/PROV", "$EDC/acme/gw-/MQTT/PROV", "$EDC/other/gw-1/MQTT/PROV",
        "$EDC/acme2/gw-1/MQTT/PROV", "$edc/acme/gw-1/MQTT/PROV", "$EDC/acme/GW-1/MQTT/PROV",
        "/$EDC/acme/gw-1/MQTT/PROV", "$EDC//gw-1/MQTT/PROV",
        // replies: another app, method, requester, or number of levels
        "$EDC/acme/prov/PROV-V1/REPLY/r1", "$EDC/acme/prov/CONF-V2/REPLY/r1", "$EDC/acme/prov/MQTT/REPLY/r1",
        "$EDC/acme/prov/CONF-V1/REPLY", "$EDC/acme/prov/CONF-V1/REPLY/", "$EDC/acme/prov/CONF-V1/REPLY/a/b",
        "$EDC/acme/prov/CONF-V1/PUT/x", "$EDC/acme/prov/CONF-V1/reply/x", "$EDC/acme/prov/MQTT/PROV",
        "$EDC/acme/prov2/CONF-V1/REPLY/r1", "$EDC/other/prov/CONF-V1/REPLY/r1", "$EDC/acme/gw-2/CONF-V1/REPLY/r1",
        // notifications: another device's, another app's, no resource
        "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-2/download", "$EDC/acme/prov/DEPLOY-V1/NOTIFY/gw-1/download",
        "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-1", "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-1/",
        // the broker's and the plugin's own
        "$SYS/broker/uptime", "$CONTROL/provisioner/v1", "$PROVISIONER/in/gw-2/x", "$PROVISIONER/refused",
        "$share/g/$EDC/acme/gw-1/MQTT/PROV"}) {
    CAPTURE(topic);
    CHECK_FALSE(publish(topic));
  }
}

TEST_CASE("a device's will is its LWT or nothing") {
  const auto will = [](std::string_view topic, bool retain = false) {
    return device_may_will(kNames, "gw-1", {Access::kPublish, topic, retain});
  };
  CHECK(will("$EDC/acme/gw-1/MQTT/LWT"));
  CHECK_FALSE(will("$EDC/acme/gw-1/MQTT/LWT", true));
  for (const char* topic : {"$EDC/acme/gw-1/MQTT/PROV", "$EDC/acme/gw-1/MQTT/LWT/x", "$EDC/acme/gw-2/MQTT/LWT",
                            "$EDC/acme/prov/CONF-V1/REPLY/r1", "$EDC/acme/prov/MQTT/LWT", "$SYS/x"}) {
    CAPTURE(topic);
    CHECK_FALSE(will(topic));
  }
}

TEST_CASE("a device receives its own tree and nothing else") {
  for (const char* filter : {"$EDC/acme/gw-1/#", "$EDC/acme/gw-1/+", "$EDC/acme/gw-1/CONF-V1/PUT/configurations"}) {
    CAPTURE(filter);
    CHECK(subscribe(filter));
    CHECK(device_may(kNames, "gw-1", {Access::kUnsubscribe, filter}));
  }
  CHECK(receive("$EDC/acme/gw-1/CONF-V1/PUT/configurations"));
  for (const char* filter :
       {"#", "+/#", "+", "$EDC/#", "$EDC/acme/#", "$EDC/acme/+/#", "$EDC/+/gw-1/#", "+/acme/gw-1/#", "$EDC/acme/gw-1#",
        "$EDC/acme/gw-1", "$EDC/acme/gw-2/#", "$EDC/acme/gw-1x/#", "$SYS/#", "$SYS/broker/clients/total",
        "$share/g/$EDC/acme/gw-1/#", "$PROVISIONER/#", "$PROVISIONER/in/gw-1/#", "$CONTROL/#", "$EDC/acme/prov/#"}) {
    CAPTURE(filter);
    CHECK_FALSE(subscribe(filter));
    CHECK_FALSE(receive(filter));
    CHECK_FALSE(device_may(kNames, "gw-1", {Access::kUnsubscribe, filter}));
  }
}

TEST_CASE("a client id without its form, or the reserved one, has no rights") {
  for (const char* id : {"", "+", "#", "a/b", "prov"}) {
    CAPTURE(id);
    const std::string own = std::string("$EDC/acme/") + id;
    CHECK_FALSE(device_may(kNames, id, {Access::kPublish, own + "/MQTT/PROV"}));
    CHECK_FALSE(device_may(kNames, id, {Access::kSubscribe, own + "/#"}));
  }
}

TEST_CASE("a device named like an app id or a method gains nothing by it") {
  CHECK_FALSE(device_may(kNames, "REPLY", {Access::kPublish, "$EDC/acme/prov/REPLY/MQTT/x"}));
  CHECK_FALSE(device_may(kNames, "MQTT", {Access::kPublish, "$EDC/acme/prov/MQTT/MQTT/x"}));
}

TEST_CASE("the provisioner sends into devices' trees, kicks, and receives the plugin's topics") {
  const auto may = [](Access access, std::string_view topic, bool retain = false) {
    return provisioner_may(kNames, {access, topic, retain});
  };
  CHECK(may(Access::kPublish, "$CONTROL/provisioner-send/v1"));
  CHECK(may(Access::kPublish, "$CONTROL/provisioner/v1"));
  CHECK(may(Access::kSubscribe, "$PROVISIONER/#"));
  CHECK(may(Access::kSubscribe, "$PROVISIONER-PARCELS/v1"));
  CHECK(may(Access::kUnsubscribe, "$PROVISIONER/#"));
  CHECK(may(Access::kReceive, "$PROVISIONER/in/gw-1/$EDC/acme/gw-1/MQTT/PROV"));
  CHECK_FALSE(may(Access::kPublish, "$CONTROL/provisioner-send/v1", true));
  CHECK_FALSE(may(Access::kPublish, "$CONTROL/provisioner/v1", true));
  CHECK(provisioner_may_send(kNames, "$EDC/acme/gw-1/CONF-V1/PUT/configurations"));
  for (const char* topic : {"$EDC/acme/", "$EDC/acme/gw-1", "$EDC/acme/gw-1/", "$EDC/acme//x", "$EDC/other/gw-1/x",
                            "$PROVISIONER/in/gw-1/x", "$CONTROL/provisioner/v2", "$SYS/x", "data"}) {
    CAPTURE(topic);
    CHECK_FALSE(may(Access::kPublish, topic));
    CHECK_FALSE(provisioner_may_send(kNames, topic));
  }
  CHECK(may(Access::kPublish, "$EDC/acme/gw-1/CONF-V1/PUT/configurations"));
  CHECK_FALSE(may(Access::kPublish, "$EDC/acme/gw-1/CONF-V1/PUT/configurations", true));
  CHECK_FALSE(may(Access::kPublish, "$PROVISIONER-PARCELS/v1"));
  CHECK_FALSE(provisioner_may_send(kNames, "$CONTROL/provisioner/v1"));
  for (const char* topic :
       {"#", "$EDC/#", "$EDC/acme/#", "$SYS/#", "$PROVISIONER", "$PROVISIONER/", "$PROVISIONERS/x", "$PROVISIONER-PARCELS/#"}) {
    CAPTURE(topic);
    CHECK_FALSE(may(Access::kSubscribe, topic));
    CHECK_FALSE(may(Access::kReceive, topic));
  }
}

TEST_CASE("on the owner's broker a device has its two trees, both ways, retained too") {
  for (const Access access : {Access::kPublish, Access::kReceive, Access::kSubscribe, Access::kUnsubscribe}) {
    for (const char* topic : {"$EDC/acme/gw-1/MQTT/BIRTH", "acme/gw-1/data", "$EDC/acme/gw-1/#", "acme/gw-1/#"}) {
      CAPTURE(topic);
      CHECK(owner_device_may("acme", "gw-1", {access, topic, false}));
      CHECK(owner_device_may("acme", "gw-1", {access, topic, true}));
    }
    for (const char* topic :
         {"", "#", "+/gw-1/#", "acme/gw-1", "acme/gw-2/data", "acme/gw-12/data", "acme/+/data", "other/gw-1/data",
          "$EDC/acme/gw-2/MQTT/BIRTH", "$EDC/$EDC/acme/gw-1/x", "$SYS/#", "$CONTROL/x", "$share/g/acme/gw-1/#"}) {
      CAPTURE(topic);
      CHECK_FALSE(owner_device_may("acme", "gw-1", {access, topic}));
    }
    CHECK_FALSE(owner_device_may("acme", "+", {access, "acme/+/data"}));
  }
}

TEST_CASE("what is reported of a reply's topic does not hold its request id") {
  const std::string rid = "0123456789abcdef0123456789abcdef";
  CHECK(reportable("$EDC/acme/prov/CONF-V1/REPLY/" + rid) == "$EDC/acme/prov/CONF-V1/REPLY/(id)");
  CHECK(reportable("$EDC/acme/prov/CONF-V1/REPLY/" + rid + "/b") == "$EDC/acme/prov/CONF-V1/REPLY/(id)");
  CHECK(reportable("$EDC/acme/prov/CONF-V1/REPLY/1") == "$EDC/acme/prov/CONF-V1/REPLY/1");
  CHECK(reportable("$EDC/acme/gw-1/MQTT/PROV") == "$EDC/acme/gw-1/MQTT/PROV");
}
