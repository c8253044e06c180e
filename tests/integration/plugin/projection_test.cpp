// The plugin's start, and the projection in a bad state: everything fails closed.
#include <sys/stat.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet::test;
using namespace fleet::provisioner;

namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the broker does not start without its database, and the log names it") {
  ProvisionBroker broker;
  broker.projection().close();
  for (const char* name : {"admission.db", "admission.db-wal", "admission.db-shm"}) {
    std::filesystem::remove(broker.folder() / name);
  }
  CHECK_FALSE(broker.start());
  CHECK(contains(broker.log(), "provisioner_auth: admission database " + (broker.folder() / "admission.db").string()));
}

TEST_CASE("the broker does not start with a verifier key of the wrong size, or none") {
  ProvisionBroker broker;
  REQUIRE(fleet::write_file(broker.folder() / "verifier.key", std::string(31, 'k')));
  CHECK_FALSE(broker.start());
  CHECK(contains(broker.log(), "must hold exactly 32 bytes"));
  REQUIRE(fleet::write_file(broker.folder() / "verifier.key", std::string(33, 'k')));
  CHECK_FALSE(broker.start());
  std::filesystem::remove(broker.folder() / "verifier.key");
  CHECK_FALSE(broker.start());
}

TEST_CASE("the broker does not start with an unknown option") {
  ProvisionBroker broker({"root", {"plugin_opt_acount acme"}});
  CHECK_FALSE(broker.start());
  CHECK(contains(broker.log(), "provisioner_auth: plugin_opt_acount: no such option in this mode"));
}

TEST_CASE("a locked projection refuses, and admits again when it is free") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  broker.projection().leave_wal();
  REQUIRE(broker.start());
  CHECK(broker.connect(broker.device("gw-1")) == 0);
  broker.projection().run("BEGIN EXCLUSIVE");
  CHECK(broker.connect(broker.device("gw-1")) == 5);
  broker.projection().run("COMMIT");
  CHECK(broker.connect(broker.device("gw-1")) == 0);
  const Subscriber provisioner = broker.listen();
  CHECK(eventually([&] { return provisioner.events(EventKind::kRefused, "gw-1", "unavailable") == 1; }));
  CHECK(contains(broker.log(), "every device is refused"));
  CHECK(contains(broker.log(), "readable again"));
}

TEST_CASE("a projection overwritten with garbage refuses until there is a good one again") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  broker.projection().close();
  const std::string good = fleet::read_file(broker.folder() / "admission.db").value();
  REQUIRE(broker.start());
  CHECK(broker.connect(broker.device("gw-1")) == 0);
  for (const char* name : {"admission.db-wal", "admission.db-shm"}) std::filesystem::remove(broker.folder() / name);
  REQUIRE(fleet::write_file(broker.folder() / "admission.db", std::string(good.size(), '\x5a')));
  CHECK(eventually([&] { return broker.connect(broker.device("gw-1")) == 5; }, 5s));
  REQUIRE(fleet::write_file(broker.folder() / "admission.db", good));
  CHECK(eventually([&] { return broker.connect(broker.device("gw-1")) == 0; }, 5s));
}

TEST_CASE("a projection that vanishes refuses, and the broker lives on") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  CHECK(broker.connect(broker.device("gw-1")) == 0);
  std::filesystem::rename(broker.folder() / "admission.db", broker.folder() / "elsewhere.db");
  CHECK(eventually([&] { return broker.connect(broker.device("gw-1")) == 5; }, 5s));
  CHECK(broker.connect(broker.local()) == 0);
}

TEST_CASE("a broker with a user of its own reads what the provisioner's group shares" *
          doctest::skip(!running_as_root())) {
  ProvisionBroker broker({"mosquitto", {}});
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  CHECK(broker.connect(broker.device("gw-1")) == 0);
  broker.projection().add("gw-2");  // written while the broker reads
  CHECK(broker.connect(broker.device("gw-2")) == 0);
  broker.projection().run("PRAGMA wal_checkpoint(TRUNCATE)");
  CHECK(broker.connect(broker.device("gw-2")) == 0);
  broker.projection().close();  // the writer is away; its -wal and -shm stay
  CHECK(broker.connect(broker.device("gw-2")) == 0);
  broker.stop();
  REQUIRE(broker.start());
  CHECK(broker.connect(broker.device("gw-2")) == 0);
  CHECK(broker.connect(broker.device("gw-2", "wrong")) == 5);
}

TEST_CASE("a broker with a user of its own that may not read the database does not start" *
          doctest::skip(!running_as_root())) {
  ProvisionBroker broker({"mosquitto", {}});
  REQUIRE(::chmod((broker.folder() / "admission.db").c_str(), 0600) == 0);
  CHECK_FALSE(broker.start());
  CHECK(contains(broker.log(), "provisioner_auth: admission database"));
}

TEST_CASE("only the plugin's three functions are visible in the broker's process") {
  const Outcome symbols = run({"nm", "-D", "--defined-only", "--format=just-symbols", FLEET_PLUGIN});
  REQUIRE(symbols.exit_code == 0);
  CHECK(symbols.output == "mosquitto_plugin_cleanup\nmosquitto_plugin_init\nmosquitto_plugin_version\n");
}
