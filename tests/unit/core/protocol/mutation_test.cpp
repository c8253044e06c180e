// Damaged input of every kind: nothing may crash (the sanitizers watch), and what is accepted must be consistent.
#include <doctest/doctest.h>

#include "core/protocol/esf_xml.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"
#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;

namespace {

Bytes sample_prov() {
  Prov prov;
  prov.username = "user";
  prov.password = Secret("pass");
  prov.request_id = "a1";
  prov.nonce = Bytes(16, 'n');
  prov.csr = Bytes(100, 'c');
  prov.reason = "retry";
  prov.facts = {{"os", "linux"}};
  return encode(to_payload(prov, "dev", 1));
}

}  // namespace

TEST_CASE("damaged payloads are refused or decode to what encodes again to the same value") {
  Random random(4);
  const std::vector<Bytes> seeds{encode(every_type()), encode_gzip(every_type()), sample_prov(),
                                 encode(to_payload(DeviceCertificate{"p", "a", {"x", "y"}}))};
  const DecodeLimits limits{.max_size = 4096, .max_inflated_size = 4096, .max_metrics = 50};
  std::size_t accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Bytes damaged = mutate(random, seeds[pick(random, seeds.size())]);
    const auto payload = decode(damaged, limits);
    if (!payload) continue;
    ++accepted;
    const Bytes again = encode(*payload);
    const auto second = decode(again);
    REQUIRE(second);
    REQUIRE(encode(*second) == again);
    // what lies on top must stand it too
    static_cast<void>(parse_prov(*payload, "dev"));
    static_cast<void>(parse_reply(*payload));
    static_cast<void>(parse_device_certificate(*payload));
    static_cast<void>(signing_input("t", *payload));
  }
  CHECK(accepted > 100);
  CHECK(accepted < 15'000);
}

TEST_CASE("random bytes are no payloads") {
  Random random(5);
  for (int i = 0; i < 5'000; ++i) {
    Bytes bytes;
    for (std::size_t k = pick(random, 64); k > 0; --k) bytes += static_cast<char>(random());
    if (const auto payload = decode(bytes)) CHECK(payload->metrics.empty());
  }
}

TEST_CASE("damaged topics are refused or are written back as they were") {
  Random random(6);
  const std::vector<std::string> seeds{"$EDC/acc/dev/CONF-V1/PUT/configurations", "$EDC/acc/p/CERT-V1/REPLY/9f86",
                                       "$EDC/acc/p/DEPLOY-V2/NOTIFY/dev/install", "$EDC/acc/dev/MQTT/PROV"};
  std::size_t accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string damaged = mutate(random, seeds[pick(random, seeds.size())]);
    const auto topic = parse_topic(damaged);
    if (!topic) continue;
    ++accepted;
    REQUIRE(std::visit([](const auto& t) { return t.str(); }, *topic) == damaged);
  }
  CHECK(accepted > 100);
}

TEST_CASE("damaged configurations are refused or can be written and read again") {
  Random random(7);
  const auto seed = to_xml({{"pid.one",
                             {{"broker-url", PropertyType::kString, false, false, {"mqtts://h:8883"}},
                              {"n", PropertyType::kInteger, true, false, {"1", "2"}},
                              {"s", PropertyType::kPassword, false, true, {"a&b"}}}},
                            {"two", {}}});
  REQUIRE(seed);
  std::size_t accepted = 0;
  for (int i = 0; i < 10'000; ++i) {
    const auto parsed = parse_xml(mutate(random, *seed));
    if (!parsed) continue;
    ++accepted;
    const auto written = to_xml(*parsed);
    REQUIRE(written);
    REQUIRE(parse_xml(*written).value() == *parsed);
  }
  CHECK(accepted > 100);
}
