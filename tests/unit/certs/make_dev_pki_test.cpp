// The script that makes the development PKI of an owner's broker.
#include <sysexits.h>

#include <doctest/doctest.h>

#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

using fleet::test::TempFolder;

namespace {

fleet::test::Outcome make_dev_pki(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), FLEET_SOURCE_DIR "/certs/make-dev-pki.sh");
  return fleet::test::run(std::move(arguments));
}

}  // namespace

TEST_CASE("a development PKI is made whole, and not over another") {
  const TempFolder folder;
  const std::string out = (folder / "pki").string();
  CHECK(make_dev_pki({out, "broker.example", "10.0.0.1", "::1"}).exit_code == EX_OK);
  for (const char* name : {"owner-root", "server", "operator"}) {
    CHECK(std::filesystem::exists(folder / "pki" / (std::string(name) + ".crt")));
    CHECK(std::filesystem::exists(folder / "pki" / (std::string(name) + ".key")));
  }
  CHECK(make_dev_pki({out}).exit_code == EX_CANTCREAT);
}

TEST_CASE("a name that is none is a usage error, and nothing is made") {
  const TempFolder folder;
  const std::string out = (folder / "pki").string();
  for (const char* name : {"300.1.1.1", "1.2.3", "bad host!", "--hlep", ""}) {
    const auto outcome = make_dev_pki({out, name});
    CHECK(outcome.exit_code == EX_USAGE);
    CHECK_FALSE(outcome.errors.empty());
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("an IPv6 address has its form, or is a usage error that names it before anything is made") {
  const TempFolder folder;
  const std::string out = (folder / "pki").string();
  for (const char* name : {"1::2::3", "12345::1", "1:2:3", "::ffff:300.1.1.1", "::ffff:1.2.3", ":", ":::", ":1::", "1::2:",
                           "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::g", "[::1]"}) {
    CAPTURE(name);
    const auto outcome = make_dev_pki({out, "localhost", name});
    CHECK(outcome.exit_code == EX_USAGE);
    CHECK(outcome.errors == std::string("error: ") + name + ": neither a DNS name nor an IP address\n");
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(make_dev_pki({out, "::", "::1", "fe80::", "FE80::1:2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
                      "::1.2.3.4", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4"})
            .exit_code == EX_OK);
}

TEST_CASE("help is given wherever it is asked for, and makes nothing") {
  const TempFolder folder;
  const auto outcome = make_dev_pki({(folder / "pki").string(), "--help"});
  CHECK(outcome.exit_code == EX_OK);
  CHECK(outcome.output.starts_with("usage: "));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a folder that cannot be made is told in a sentence") {
  const auto outcome = make_dev_pki({"/dev/null/pki"});
  CHECK(outcome.exit_code == EX_CANTCREAT);
  CHECK(outcome.errors.starts_with("error: /dev/null/pki: cannot be made: "));
}
