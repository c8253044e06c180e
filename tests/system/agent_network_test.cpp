// The network of a device comes and goes, and so do its names: the same process gets there when they are back. In a
// network of its own, whose only interface the test switches off and on.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <net/if.h>
#include <sched.h>
#include <sstream>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;
namespace fs = std::filesystem;

namespace {

// From now on this process and its children see a network that ends at the loopback, and mounts of their own. False if
// this machine does not let the test have that: the test then has nothing to say, and says so.
bool have_own_network() {
  static const bool have = [] {
    if (::unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0) {
      return true;
    }
    MESSAGE("skipped: no network of its own here: " << std::strerror(errno));
    return false;
  }();
  return have;
}

void switch_network(bool on) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(fd >= 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = static_cast<short>(on ? IFF_UP : 0);
  const int result = ::ioctl(fd, SIOCSIFFLAGS, &request);
  ::close(fd);
  REQUIRE(result == 0);
}

// The names of this test's machine: those that it had, and what is added.
class Hosts {
 public:
  Hosts() {
    std::ifstream old("/etc/hosts");
    std::ofstream(file()) << old.rdbuf();
    REQUIRE(::mount(file().c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) == 0);
  }
  ~Hosts() { ::umount2("/etc/hosts", MNT_DETACH); }
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;
  void add(const std::string& line) const { std::ofstream(file(), std::ios::app) << line << "\n"; }

 private:
  fs::path file() const { return folder_ / "hosts"; }
  TempFolder folder_;
};

}  // namespace

TEST_CASE("an agent that is started without a network arrives when there is one, and comes back after each outage") {
  if (!have_own_network()) return;
  switch_network(true);
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC61000001"));
  switch_network(false);
  agent->start();
  // nothing answers, nothing refuses: packets vanish
  CHECK(eventually([&] { return holds(agent->last_failure(), "cannot be reached within"); }, 40s));
  INFO(agent->log());
  CHECK(agent->phase() == "connecting");
  switch_network(true);
  REQUIRE(eventually([&] { return agent->provisioned() && rig.births("02FC61000001") == 1; }, 40s));

  // an outage in which the owner's broker dies as well, so that the connection is really gone
  switch_network(false);
  rig.stop_owner();
  switch_network(true);
  CHECK(eventually([&] { return holds(agent->log(), "owner's broker: "); }, 40s));
  switch_network(false);
  rig.start_owner();
  switch_network(true);
  CHECK(eventually([&] { return rig.births("02FC61000001") == 2; }, 60s));
  CHECK(agent->provisioned());
  CHECK(agent->running());
}

TEST_CASE("a broker whose name cannot be resolved is asked for again until it can, without a restart") {
  if (!have_own_network()) return;
  switch_network(true);
  const Hosts hosts;
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC61000002"));
  agent->set("broker-url", "mqtts://provision.fleet.test:" + std::to_string(rig.provision_port()));
  agent->start();
  CHECK(eventually([&] { return holds(agent->last_failure(), "DNS: provision.fleet.test: "); }, 40s));
  INFO(agent->log());
  CHECK(agent->phase() == "connecting");
  CHECK_FALSE(agent->next_try().empty());
  hosts.add("127.0.0.1 provision.fleet.test");
  CHECK(eventually([&] { return agent->provisioned(); }, 60s));
  CHECK(agent->last_failure().empty());
}
