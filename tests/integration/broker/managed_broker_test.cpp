#include <signal.h>
#include <sys/socket.h>

#include <doctest/doctest.h>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "tests/integration/broker/fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using namespace fleet::provisioner;

TEST_CASE("the broker starts, speaks TLS 1.2 and newer, runs as its own user, and stops without a trace") {
  DataFolder data;
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  CHECK(data.knock() == 5);  // over verified TLS, refused by the plugin
  CHECK(user_of(broker.pid()) == (running_as_root() ? "mosquitto" : user_of(::getpid())));

  const auto handshake = [&](const char* version) {
    return run({"openssl", "s_client", "-connect", fmt::format("127.0.0.1:{}", data.settings.listen.port), "-CAfile",
                data.roots(), "-verify_return_error", "-cipher", "ALL:@SECLEVEL=0", version})
        .exit_code;
  };
  CHECK(handshake("-tls1_3") == 0);
  CHECK(handshake("-tls1_2") == 0);
  CHECK(handshake("-tls1_1") != 0);

  const pid_t pid = broker.pid();
  CHECK(broker.stop());
  CHECK(broker.pid() == -1);
  CHECK(::kill(pid, 0) != 0);
  CHECK(brokers_of(data.settings.configuration_file()).empty());
  CHECK(broker.down.empty());
}

TEST_CASE("a broker that was killed is started again") {
  DataFolder data;
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  const pid_t first = broker.pid();
  ::kill(first, SIGKILL);
  REQUIRE(broker.until([&] { return broker.ready == 2; }));
  CHECK(broker.pid() != first);
  REQUIRE(broker.down.size() == 1);
  CHECK(broker.down[0].code == ErrorCode::kUnavailable);
  CHECK(broker.down[0].message.find("killed by signal 9") != std::string::npos);
  CHECK(data.knock() == 5);
  CHECK(broker.stop());
}

TEST_CASE("a broker that hangs is killed when it is stopped") {
  DataFolder data;
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  ::kill(broker.pid(), SIGSTOP);
  CHECK(broker.stop());
  CHECK(brokers_of(data.settings.configuration_file()).empty());
}

TEST_CASE("an object that goes takes its broker along, also while that waits to be started again") {
  DataFolder data;
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  SUBCASE("running") {}
  SUBCASE("waiting") {
    ::kill(broker.pid(), SIGKILL);
    REQUIRE(broker.until([&] { return broker.down.size() == 1; }));
  }
  broker.destroy();
  CHECK_FALSE(broker.until([&] { return broker.ready == 2; }, 1200ms));
  CHECK(brokers_of(data.settings.configuration_file()).empty());
}

TEST_CASE("stopping while the broker waits to be started again is heard") {
  DataFolder data;
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  ::kill(broker.pid(), SIGKILL);
  REQUIRE(broker.until([&] { return broker.down.size() == 1; }));
  CHECK(broker.stop());
  CHECK_FALSE(broker.until([&] { return broker.ready == 2; }, 1200ms));
}

TEST_CASE("a port that is in use is a typed error that names it") {
  DataFolder data;
  DataFolder neighbour;
  RunningBroker first(neighbour.settings);
  REQUIRE(first.start());
  REQUIRE(first.until([&] { return first.ready == 1; }));
  data.settings.listen.port = neighbour.settings.listen.port;
  RunningBroker second(data.settings);
  const auto started = second.start();
  REQUIRE_FALSE(started);
  CHECK(started.error().code == ErrorCode::kConflict);
  CHECK(started.error().message.find(fmt::format("port {} is in use", data.settings.listen.port)) == 0);
  CHECK(brokers_of(data.settings.configuration_file()).empty());
  CHECK(neighbour.knock() == 5);  // and the other one is unharmed
  CHECK(first.stop());
}

TEST_CASE("an address that is not ours, and a missing admission database, are typed errors") {
  DataFolder data;
  data.settings.listen.address = "192.0.2.1";
  CHECK(RunningBroker(data.settings).start().error().code == ErrorCode::kInvalidArgument);
  data.settings.listen.address = "localhost";
  CHECK(RunningBroker(data.settings).start().error().code == ErrorCode::kInvalidArgument);
  data.settings.listen.address = "127.0.0.1";
  REQUIRE(fleet::remove_all(data.settings.admission_db()));
  const auto started = RunningBroker(data.settings).start();
  CHECK(started.error().code == ErrorCode::kNotFound);
  CHECK(started.error().message.find("admission.db") != std::string::npos);
}

TEST_CASE("a broker that cannot start says why in its last words") {
  DataFolder data;
  data.settings.provisioner_id = "not/a/name";
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return !broker.down.empty(); }));
  CHECK(broker.ready == 0);
  CHECK(broker.down[0].message.find("plugin_opt_provisioner_id: must have the form") != std::string::npos);
}

TEST_CASE("a plain listener is there when it was asked for") {
  DataFolder data;
  data.settings.plain_listen = BrokerListener{"127.0.0.1", free_port()};
  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  CHECK(run({"mosquitto_pub", "-h", "127.0.0.1", "-p", std::to_string(data.settings.plain_listen->port), "-i", "gw-1",
             "-t", "x", "-m", "x"})
            .exit_code == 5);
  CHECK(broker.stop());
}
