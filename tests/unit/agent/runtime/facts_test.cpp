#include "agent/runtime/facts.hpp"

#include <set>

#include <doctest/doctest.h>

#include "core/base/bytes.hpp"
#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

TEST_CASE("the facts are the BIRTH metrics of the protocol, but for the two that change") {
  const std::set<std::string> wanted{"display_name",
                                     "model_name",
                                     "model_id",
                                     "part_number",
                                     "serial_number",
                                     "firmware_version",
                                     "bios_version",
                                     "os",
                                     "os_version",
                                     "os_arch",
                                     "available_processors",
                                     "total_memory",
                                     "connection_interface",
                                     "accept_encoding",
                                     "application_ids",
                                     "payload_encoding"};
  std::set<std::string> found;
  for (const auto& [name, value] : device_facts(Identity{})) found.insert(name);
  CHECK(found == wanted);
  CHECK(uptime_millis().find_first_not_of("0123456789") == std::string::npos);
}

TEST_CASE("a fact that is not UTF-8 is left empty: it would make the whole hello malformed") {
  test::TempFolder root;
  fs::create_directories(root / "etc");
  // 127 bytes and a character of two: cut at 128 it is no text any more
  REQUIRE(write_file(root / "etc/os-release", "PRETTY_NAME=\"" + std::string(127, 'x') + "\xc3\xa4\"\n", 0644));
  Identity identity;
  identity.serial.value = "4711\xff";
  const auto facts = device_facts(identity, root.path());
  CHECK(facts.at("serial_number").empty());
  for (const auto& [name, value] : facts) {
    CAPTURE(name);
    CHECK(is_utf8(value));
  }
}

}  // namespace
}  // namespace fleet::agent
