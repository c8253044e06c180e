// A simulated fleet, well-behaved and not, against real programs.
#include <fstream>
#include <sysexits.h>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;
namespace json = boost::json;

namespace {

struct SimulatorRig : Rig {
  // A roster of `count` devices with activation keys.
  std::string roster(int count) {
    std::string yaml;
    for (int i = 1; i <= count; ++i) {
      const std::string number = std::to_string(i);
      yaml += "---\napiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: sim-" + number +
              "}\nspec: {profile: gateway, clientId: S" + number + ", provisionUserUsername: S" + number +
              "-SN, generateActivationKey: true}\n";
    }
    const std::string file = (folder() / "fleet.yaml").string(), secrets = (folder() / "roster.csv").string();
    std::ofstream(file) << yaml;
    expect_ok(cli({"apply", "-f", file, "--secrets-out", secrets}), "apply");
    return secrets;
  }
  Outcome simulate(std::vector<std::string> options) const {
    std::vector<std::string> command{FLEET_SIM, "run", "--broker-url", "mqtts://localhost:" + std::to_string(provision_port()),
                                     "--platform-root-file", root_certificate().string(), "-o", "json"};
    command.insert(command.end(), options.begin(), options.end());
    return run(std::move(command), {}, 90s);
  }
};

json::object parsed(const Outcome& outcome) {
  boost::system::error_code error;
  const json::value value = json::parse(outcome.output, error);
  if (error || !value.is_object()) FAIL("no JSON: " << outcome.output << outcome.errors);
  return value.get_object();
}

}  // namespace

TEST_CASE("A simulated fleet is provisioned by real programs, and who misbehaves harms nobody else") {
  SimulatorRig rig;
  rig.start_all();
  const std::string roster = rig.roster(60);
  const Outcome outcome = rig.simulate({"--roster", roster, "--arrival", "poisson:100", "--concurrency", "20", "--wrong-password", "5",
                                        "--wrong-key", "5", "--disconnect", "10", "--slow", "5", "--slow-by", "200ms", "--duplicate",
                                        "10", "--silent", "5", "--timeout", "5s", "--retry-interval", "1s", "--time-limit", "60s"});
  CAPTURE(outcome.output);
  CHECK(outcome.exit_code == EX_OK);
  const json::object told = parsed(outcome);
  CHECK(told.at("devices") == 60);
  CHECK(told.at("provisioned") == 51);
  CHECK(told.at("stopped") == 9);
  CHECK(told.at("unexpected") == 0);
  CHECK(told.at("behaviours").at("wrong-key").at("provisioned") == 0);
  CHECK(told.at("behaviours").at("disconnect").at("provisioned") == 6);
  // no failed attempts, but devices were held up
  CHECK(told.at("setbacks").at("the simulation cut the connection") == 6);
  // what the platform has recorded is what the devices say
  CHECK(rig.sql("SELECT count(*) FROM request WHERE status = 'COMPLETED'") == "51");
  // and one certificate a key: those that never answered had theirs made too
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "54");
  CHECK(rig.sql("SELECT count(DISTINCT spki_sha256) FROM certificate") == "54");
  int born = 0;
  for (int i = 1; i <= 60; ++i) born += rig.births("S" + std::to_string(i)) > 0 ? 1 : 0;
  CHECK(born == 51);
}

TEST_CASE("A rehearsal tells before it begins what it lacks") {
  SimulatorRig rig;
  const std::string roster = (rig.folder() / "roster.csv").string();
  std::ofstream(roster) << "name,clientId,username,password\na,b,c,d\n";
  CHECK(rig.simulate({"--roster", "/nowhere.csv"}).exit_code == EX_NOINPUT);
  CHECK(rig.simulate({"--roster", roster, "--devices", "2"}).exit_code == EX_DATAERR);
  CHECK(rig.simulate({"--roster", roster, "--arrival", "sometime"}).exit_code == EX_DATAERR);
  CHECK(rig.simulate({"--roster", roster, "--slow", "101"}).exit_code == EX_DATAERR);
  CHECK(rig.simulate({"--roster", roster, "--rooster", "x"}).exit_code == EX_USAGE);
  CHECK(rig.simulate({"--roster", roster, "--cpu-of", "x"}).exit_code == EX_DATAERR);
}
