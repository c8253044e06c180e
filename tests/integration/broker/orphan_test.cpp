// The provisioner killed: its broker must not go on alone, and one that did is replaced.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include "provisioner/broker/managed_broker_child.hpp"
#include "tests/integration/broker/fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using namespace fleet::provisioner;

namespace {

// A process that runs the broker and dies by SIGKILL once that is ready.
void provisioner_that_is_killed(const ManagedBrokerSettings& settings) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    RunningBroker broker(settings);
    if (!broker.start() || !broker.until([&] { return broker.ready == 1; })) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  REQUIRE(WIFSIGNALED(status));
}

}  // namespace

TEST_CASE("the broker ends when the provisioner is killed, although it runs as another user") {
  DataFolder data;
  provisioner_that_is_killed(data.settings);
  CHECK(eventually([&] { return brokers_of(data.settings.configuration_file()).empty(); }, 5s));
}

TEST_CASE("a broker that was left behind is replaced, and another one is left alone") {
  DataFolder data;
  DataFolder neighbour;
  REQUIRE(write_broker_files(data.settings));
  // as Mosquitto drops its rights itself, nothing ends this one with its parent
  const std::string mosquitto = find_mosquitto(data.settings).value();
  Process stale({{mosquitto, "-c", data.settings.configuration_file().string()}});
  REQUIRE(eventually([&] { return socket_accepts(data.settings.socket()); }));
  RunningBroker other(neighbour.settings);
  REQUIRE(other.start());
  REQUIRE(other.until([&] { return other.ready == 1; }));

  RunningBroker broker(data.settings);
  REQUIRE(broker.start());
  REQUIRE(broker.until([&] { return broker.ready == 1; }));
  CHECK_FALSE(stale.running());
  CHECK(brokers_of(data.settings.configuration_file()) == std::vector<pid_t>{broker.pid()});
  CHECK(data.knock() == 5);
  CHECK(neighbour.knock() == 5);
  CHECK(broker.stop());
  CHECK(other.stop());
}

TEST_CASE("a process that only looks like the broker is not stopped") {
  DataFolder data;
  REQUIRE(write_broker_files(data.settings));
  Process innocent({{"sleep", "60"}});
  Process reader({{"tail", "-f", data.settings.configuration_file().string()}});
  REQUIRE(stop_stale_brokers(find_mosquitto(data.settings).value(), data.settings, Millis(500)));
  CHECK(innocent.running());
  CHECK(reader.running());
}
