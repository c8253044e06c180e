// Cells over one database: whatever dies in the middle of a fleet, every device is provisioned once. FLEET_CELLS_DEVICES sets
// the size of the fleets.
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "tests/system/cells_rig.hpp"
#include "tests/system/raw_device.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

int fleet_size() {
  const char* const wanted = std::getenv("FLEET_CELLS_DEVICES");
  return wanted == nullptr ? 5'000 : std::atoi(wanted);
}

int number(CellsRig& rig, const std::string& sql) {
  return std::stoi(rig.sql(sql));
}

int completed(CellsRig& rig) {
  return number(rig, "SELECT count(*) FROM request WHERE status = 'COMPLETED'");
}

struct Logs {
  explicit Logs(CellsRig& of) : rig(of) {}
  std::string tail(std::size_t cell) const {
    const std::string all = rig.log(cell);
    return all.substr(all.size() > 4000 ? all.size() - 4000 : 0);
  }
  CellsRig& rig;
};

// Whatever happened: every device has been provisioned, once, by one cell, with one certificate for its key.
void check_each_once(CellsRig& rig, int devices) {
  const Logs logs(rig);
  INFO("simulator: " << rig.simulated() << "\na: " << logs.tail(0) << "\nb: " << logs.tail(1));
  CHECK(completed(rig) == devices);
  CHECK(number(rig, "SELECT count(*) FROM attempt WHERE state = 'OPEN'") == 0);
  CHECK(number(rig, "SELECT count(*) FROM attempt WHERE state = 'COMPLETED'") == devices);
  CHECK(number(rig, "SELECT count(DISTINCT request_id) FROM attempt WHERE state = 'COMPLETED'") == devices);
  // one certificate a key
  CHECK(number(rig, "SELECT count(*) FROM certificate") == number(rig, "SELECT count(DISTINCT spki_sha256) FROM certificate"));
  CHECK(number(rig, "SELECT count(DISTINCT client_id) FROM certificate") == devices);
  CHECK(number(rig, "SELECT count(*) FROM (SELECT request_id FROM timeline WHERE kind = 'completed' GROUP BY request_id HAVING count(*) <> 1) AS odd") == 0);
}

void await_end(CellsRig& rig, Process& simulator, int devices) {
  const auto ended = simulator.wait(std::chrono::seconds(200));
  INFO(rig.simulated());
  CHECK(ended == 0);
  CHECK(eventually([&] { return completed(rig) == devices; }, 20s));
}

const std::vector<std::string> kFleet{"--concurrency", "150",  "--timeout",    "8s",   "--retry-interval", "2s",
                                      "--time-limit",  "180s", "--disconnect", "5"};

}  // namespace

TEST_CASE("A fleet comes through a load balancer to two cells, and one of them dies in the middle") {
  CellsRig rig(2);
  rig.start_all();
  const int devices = fleet_size();
  const std::string roster = rig.roster("K", devices);
  auto simulator = rig.simulate(roster, kFleet);
  REQUIRE(eventually([&] { return completed(rig) > devices / 5; }, 60s));
  CHECK(completed(rig) < devices);
  rig.kill_cell(1);
  await_end(rig, *simulator, devices);
  check_each_once(rig, devices);
  // both have worked, and the survivor has taken over what the other left
  CHECK(number(rig, "SELECT count(DISTINCT cell) FROM attempt WHERE state = 'COMPLETED'") == 2);
  CHECK(number(rig, "SELECT count(*) FROM attempt WHERE fence > 1") > 0);
  // it comes back as it was
  rig.start_cell(1);
  CHECK(rig.cli(1, {"get", "requests"}).exit_code == 0);
}

TEST_CASE("The database restarts in the middle of a fleet, once in order and once as after a crash") {
  CellsRig rig(2);
  rig.start_all();
  const int devices = fleet_size();
  const std::string roster = rig.roster("D", devices);
  auto simulator = rig.simulate(roster, kFleet);
  REQUIRE(eventually([&] { return completed(rig) > devices / 6; }, 60s));
  rig.postgres().stop();
  // the service is there, and says what is not
  CHECK(eventually([&] { return holds(rig.cli(0, {"status"}).output, "database"); }));
  rig.postgres().start();
  REQUIRE(eventually([&] { return completed(rig) > devices / 3; }, 90s));
  rig.postgres().kill();
  rig.postgres().start();
  await_end(rig, *simulator, devices);
  check_each_once(rig, devices);
}

TEST_CASE("What an operator does through one cell takes effect in the other within a second") {
  CellsRig rig(2);
  rig.start_all();
  const std::string roster = rig.roster("O", 2);
  std::ifstream file(roster);
  std::string line;
  std::getline(file, line);
  std::getline(file, line);
  std::istringstream fields(line);
  Credentials one;
  std::getline(fields, one.name, ',');
  std::getline(fields, one.client_id, ',');
  std::getline(fields, one.username, ',');
  std::getline(fields, one.password, ',');

  RawClient at_b(rig.port(1), rig.root_certificate(), one.client_id, one.username, one.password);
  RawClient at_a(rig.port(0), rig.root_certificate(), one.client_id, one.username, one.password);
  // it was applied through the one and is admitted by the other
  REQUIRE(eventually([&] { return at_a.connect().has_value(); }));
  at_a.disconnect();
  REQUIRE(at_b.connect().has_value());

  expect_ok(rig.cli(0, {"disable", "request", one.name}), "disable");
  // a second, and what slow machines need
  CHECK(at_b.until([&] { return !at_b.connected(); }, Millis(3000)));
  CHECK_FALSE(at_b.connect().has_value());
  CHECK_FALSE(at_a.connect().has_value());
  expect_ok(rig.cli(1, {"enable", "request", one.name}), "enable");
  CHECK(eventually([&] { return at_a.connect().has_value(); }, 3s));
  REQUIRE(at_b.connect().has_value());
  expect_ok(rig.cli(0, {"delete", "request", one.name}), "delete");
  CHECK(at_b.until([&] { return !at_b.connected(); }, Millis(3000)));
}
