#include "agent/identity/identity.hpp"

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

// A machine's /sys and /proc in a temporary folder.
struct Machine {
  test::TempFolder root;

  void file(const std::string& name, std::string_view content) {
    fs::create_directories((root / name).parent_path());
    REQUIRE(write_file(root / name, content, 0644));
  }
  void interface(const std::string& name, int index, std::string_view mac, bool physical,
                 std::string_view assigned = "0") {
    const std::string folder = "sys/class/net/" + name + "/";
    file(folder + "address", std::string(mac) + "\n");
    file(folder + "ifindex", std::to_string(index) + "\n");
    file(folder + "addr_assign_type", std::string(assigned) + "\n");
    file(folder + "type", name == "lo" ? "772\n" : "1\n");
    if (physical) fs::create_directories(root / (folder + "device"));
  }
  void default_route(const std::string& name) {
    file("proc/net/route",
         "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
         "wlan0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
         "wwan9\t00000000\t0100A8C0\t0003\t0\t0\t700\t00000000\t0\t0\t0\n" +
             name + "\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n");
  }
  Result<Identity> identify(const IdentityInput& input = {}) { return agent::identify(input, root.path()); }
  std::string error(const IdentityInput& input = {}) {
    const auto identity = identify(input);
    REQUIRE_FALSE(identity);
    CHECK(identity.error().code == ErrorCode::kInvalidArgument);
    return identity.error().message;
  }
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

Machine& gateway(Machine& machine) {
  machine.interface("lo", 1, "00:00:00:00:00:00", false);
  machine.interface("docker0", 2, "02:42:ac:11:00:01", false, "3");
  machine.interface("eth0", 3, "00:50:c2:a1:b2:c3", true);
  machine.interface("wlan0", 4, "dc:a6:32:01:02:03", true);
  machine.file("sys/class/dmi/id/product_serial", "G-1234.5/6\n");
  return machine;
}

TEST_CASE("names come from MAC and serial, with the characters that topics cannot carry replaced") {
  Machine machine;
  const auto identity = gateway(machine).identify();
  REQUIRE_MESSAGE(identity, identity.error().message);
  CHECK(identity->mac.value == "0050C2A1B2C3");
  CHECK(identity->client_id.value == "0050C2A1B2C3");
  CHECK(identity->serial.value == "G-1234.5/6");
  CHECK(identity->username.value == "0050C2A1B2C3-G-1234-5-6");
  CHECK(identity->interface.value == "eth0");
  CHECK(identity->interface.source == "first physical interface");
  CHECK(contains(identity->serial.source, "product_serial"));
}

TEST_CASE("each character that a topic cannot carry becomes a dash, and no other") {
  Machine machine;
  gateway(machine);
  CHECK(machine.identify({.serial = "a/b+c#d.e"})->username.value == "0050C2A1B2C3-a-b-c-d-e");
  CHECK(machine.identify({.serial = "a_b:c@d=e-f"})->username.value == "0050C2A1B2C3-a_b:c@d=e-f");
}

TEST_CASE("the default route with the lowest metric names the main interface") {
  Machine machine;
  gateway(machine).default_route("wlan0");
  const auto identity = machine.identify();
  REQUIRE(identity);
  CHECK(identity->mac.value == "DCA632010203");
  CHECK(identity->interface.source == "default route");
}

TEST_CASE("a default route over a virtual interface does not name the device") {
  Machine machine;
  gateway(machine).default_route("docker0");
  const auto identity = machine.identify();
  REQUIRE(identity);
  CHECK(identity->interface.value == "eth0");
}

TEST_CASE("an interface with a random address is no physical one") {
  Machine machine;
  gateway(machine).interface("usb0", 2, "12:34:56:78:9a:bc", true, "1");
  const auto identity = machine.identify();
  REQUIRE(identity);
  CHECK(identity->interface.value == "eth0");
}

TEST_CASE("without a physical interface the first one that is not the loopback is taken") {
  Machine machine;
  machine.interface("lo", 1, "00:00:00:00:00:00", false);
  machine.interface("veth1", 7, "02:42:ac:11:00:09", false, "3");
  machine.interface("veth0", 9, "02:42:ac:11:00:02", false, "3");
  machine.file("sys/class/dmi/id/board_serial", "BRD-77");
  const auto identity = machine.identify();
  REQUIRE_MESSAGE(identity, identity.error().message);
  CHECK(identity->interface.value == "veth1");
  CHECK(identity->username.value == "0242AC110009-BRD-77");
}

TEST_CASE("the interface setting wins, and must exist and have a MAC") {
  Machine machine;
  gateway(machine).default_route("eth0");
  const auto identity = machine.identify({.interface = "wlan0"});
  REQUIRE(identity);
  CHECK(identity->client_id.value == "DCA632010203");
  CHECK(contains(machine.error({.interface = "eth9"}), "no such interface"));
  CHECK(contains(machine.error({.interface = "lo"}), "no usable MAC"));
}

TEST_CASE("addresses that cannot name a device are passed over") {
  Machine machine;
  machine.file("sys/class/dmi/id/product_serial", "S1234");
  machine.interface("a0", 1, "00:00:00:00:00:00", true);
  machine.interface("a1", 2, "01:00:5e:00:00:01", true);
  machine.interface("ib0", 3, "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1", true);
  machine.interface("a2", 4, "00-50-c2-a1-b2-c3", true);
  machine.interface("a3", 5, "", true);
  const std::string message = machine.error();
  CHECK(contains(message, "no usable MAC address"));
  CHECK(contains(message, "set `client-id` and `username`"));
}

TEST_CASE("the device tree's serial comes before DMI, its NUL is cut off") {
  Machine machine;
  gateway(machine).file("proc/device-tree/serial-number", std::string("10000000a3b4c5d6\0", 17));
  const auto identity = machine.identify();
  REQUIRE(identity);
  CHECK(identity->serial.value == "10000000a3b4c5d6");
}

TEST_CASE("a junk product serial falls through to the board's") {
  Machine machine;
  gateway(machine).file("sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n");
  machine.file("sys/class/dmi/id/board_serial", "B-42\n");
  const auto identity = machine.identify();
  REQUIRE(identity);
  CHECK(identity->serial.value == "B-42");
  CHECK(contains(identity->serial.source, "board_serial"));
}

TEST_CASE("fillers of manufacturers are no serial numbers") {
  for (const char* junk : {"",
                           " ",
                           "0",
                           "00000000",
                           "None",
                           "none",
                           "Default string",
                           "To Be Filled By O.E.M.",
                           "To be filled by O.E.M.",
                           "System Serial Number",
                           "Not Specified",
                           "Not Applicable",
                           "N/A",
                           "xxxxxxxx",
                           "XXXXXXXX",
                           "123456789",
                           "0123456789",
                           "................",
                           "----",
                           "\t \n",
                           "O.E.M."}) {
    CAPTURE(junk);
    CHECK(is_junk_serial(junk));
  }
  for (const char* serial : {"G1", "PF1ABCDE", "10000000a3b4c5d6", "00000001", "VMware-56 4d", "0x10", "noneX1"}) {
    CAPTURE(serial);
    CHECK_FALSE(is_junk_serial(serial));
  }
}

TEST_CASE("without a usable serial the error says what was seen and which setting helps") {
  Machine machine;
  gateway(machine).file("sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n");
  const std::string message = machine.error();
  CHECK(contains(message, "no usable serial number: "));
  CHECK(contains(message, "sys/class/dmi/id/product_serial is 'To Be Filled By O.E.M.'"));
  CHECK(contains(message, "set `serial`"));
  CHECK(contains(machine.error({.serial = "Default string"}), "not a serial number"));
}

TEST_CASE("a serial that makes an ill-formed username is an error") {
  Machine machine;
  gateway(machine);
  CHECK(contains(machine.error({.serial = "AB 12"}), "set `serial` or `username`"));
  CHECK(contains(machine.error({.serial = std::string(60, 'a') + "b"}), "set `serial` or `username`"));
  CHECK(contains(machine.error({.serial = "caf\xc3\xa9"}), "set `serial` or `username`"));
}

TEST_CASE("names given by hand need neither MAC nor serial") {
  Machine machine;
  const auto identity = machine.identify({.client_id = "gw-1", .username = "user-1"});
  REQUIRE_MESSAGE(identity, identity.error().message);
  CHECK(identity->client_id.value == "gw-1");
  CHECK(identity->username.value == "user-1");
  CHECK(identity->mac.value.empty());
  CHECK(identity->serial.value.empty());
}

TEST_CASE("a client id by hand still takes MAC and serial for the username") {
  Machine machine;
  const auto identity = gateway(machine).identify({.serial = "S+9", .client_id = "gw-1"});
  REQUIRE(identity);
  CHECK(identity->client_id.value == "gw-1");
  CHECK(identity->username.value == "0050C2A1B2C3-S-9");
}

}  // namespace
}  // namespace fleet::agent
