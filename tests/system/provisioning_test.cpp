#include <signal.h>

#include <thread>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;

TEST_CASE("a gateway with an open request ends on its owner's broker with a certificate of its own") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw-1", "02FC00000001");
  auto agent = rig.agent(gateway);
  agent->start();
  CHECK(eventually([&] { return rig.births(gateway.client_id) == 1; }, 20s));
  CHECK(eventually([&] { return agent->provisioned(); }));
  CHECK(rig.status("gw-1") == "COMPLETED");
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "1");
  CHECK(rig.provisioner_log().find("provisioned request=gw-1 client=02FC00000001") != std::string::npos);

  SUBCASE("it stays there when it is started again, and does not ask for provisioning any more") {
    CHECK(agent->process().stop() == 0);
    agent->start();
    CHECK(eventually([&] { return rig.births(gateway.client_id) == 2; }, 20s));
    CHECK(rig.sql("SELECT count(*) FROM attempt") == "1");
  }
  SUBCASE("it comes back by itself when the owner's broker was away") {
    rig.stop_owner();
    rig.start_owner();
    CHECK(eventually([&] { return rig.births(gateway.client_id) >= 2; }, 20s));
    CHECK(agent->running());
  }
  SUBCASE("after a factory reset it is provisioned anew once an operator armed the request again") {
    agent->kill();
    expect_ok(agent->cli({"reset"}), "reset");
    agent->start();
    std::this_thread::sleep_for(1500ms);
    CHECK_FALSE(agent->provisioned());
    expect_ok(rig.cli({"retry", "request", "gw-1"}), "retry");
    CHECK(eventually([&] { return agent->provisioned(); }, 20s));
    CHECK(rig.status("gw-1") == "COMPLETED");
  }
}

TEST_CASE("twenty gateways at once are each provisioned once") {
  Rig rig;
  rig.start_all();
  std::vector<std::unique_ptr<AgentRig>> agents;
  for (int i = 0; i < 20; ++i) {
    const std::string number = std::to_string(100 + i);
    agents.push_back(rig.agent(rig.request("gw-" + number, "02FC00000" + number)));
  }
  for (auto& agent : agents) agent->start();
  CHECK(eventually([&] { return rig.sql("SELECT count(*) FROM request WHERE status = 'COMPLETED'") == "20"; }, 60s));
  for (int i = 0; i < 20; ++i) {
    const std::string client_id = "02FC00000" + std::to_string(100 + i);
    CHECK(eventually([&] { return rig.births(client_id) == 1; }));
  }
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "20");
}

TEST_CASE("an agent that is stopped says goodbye and exits with 0") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw-1", "02FC00000001"));
  agent->start();
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(agent->process().stop() == 0);
}

TEST_CASE("the provisioner stops in order on SIGTERM and leaves no broker behind") {
  Rig rig;
  rig.start_all();
  const pid_t broker = rig.broker_pid();
  REQUIRE(broker > 0);
  CHECK(rig.provisioner().stop() == 0);
  CHECK(::kill(broker, 0) != 0);
  // and starts again on the same data
  rig.start_provisioner();
  CHECK(rig.cli({"get", "profiles"}).output.find("gateway") != std::string::npos);
}

TEST_CASE("a second provisioner on the same data folder is refused and names the first") {
  Rig rig;
  rig.start_provisioner();
  const Outcome second = rig.cli({"serve"});
  CHECK(second.exit_code != 0);
  CHECK(second.errors.find(std::to_string(rig.provisioner().pid())) != std::string::npos);
  CHECK(rig.cli({"status"}).exit_code == 0);
}

TEST_CASE("renewed certificates of the service are in force after a restart, and devices accept them") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw-1", "02FC00000001");
  const auto serial = [&](const std::string& name) {
    return run({"openssl", "x509", "-noout", "-serial", "-in", (rig.data() / "pki" / (name + ".crt")).string()}).output;
  };
  const std::string signing = serial("signing"), broker = serial("broker");
  expect_ok(rig.cli({"renew", "signing"}), "renew signing");
  expect_ok(rig.cli({"renew", "broker", "--host", "localhost"}), "renew broker");
  CHECK(serial("signing") != signing);
  CHECK(serial("broker") != broker);
  CHECK(rig.provisioner().stop() == 0);
  rig.start_provisioner();
  auto agent = rig.agent(gateway);
  agent->start();
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
}
