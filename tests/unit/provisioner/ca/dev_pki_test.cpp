// certs/make-dev-pki.sh, checked with the openssl command.
#include <doctest/doctest.h>

#include "tests/unit/provisioner/ca/pki_fixture.hpp"

namespace fleet::provisioner {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::TempFolder;

Outcome make_dev_pki(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), FLEET_SOURCE_DIR "/certs/make-dev-pki.sh");
  return test::run(std::move(arguments));
}

bool verifies(const fs::path& folder, std::vector<std::string> options, const std::string& leaf) {
  std::vector<std::string> command{"verify", "-x509_strict", "-CAfile", (folder / "owner-root.crt").string()};
  command.insert(command.end(), options.begin(), options.end());
  command.push_back((folder / leaf).string());
  return test::openssl(command).exit_code == 0;
}

TEST_CASE("the development PKI serves localhost by name and address, and its operator is a client") {
  const TempFolder parent;
  const fs::path folder = parent / "owner pki";
  const Outcome made = make_dev_pki({folder.string()});
  CAPTURE(made.errors);
  REQUIRE(made.exit_code == 0);
  CHECK(made.errors.empty());
  CHECK(made.output.find(folder.string()) != std::string::npos);
  CHECK(verifies(folder, {"-purpose", "sslserver", "-verify_hostname", "localhost"}, "server.crt"));
  CHECK(verifies(folder, {"-purpose", "sslserver", "-verify_ip", "127.0.0.1"}, "server.crt"));
  CHECK(verifies(folder, {"-purpose", "sslserver", "-verify_ip", "::1"}, "server.crt"));
  CHECK_FALSE(verifies(folder, {"-verify_hostname", "elsewhere"}, "server.crt"));
  CHECK_FALSE(verifies(folder, {"-purpose", "sslclient"}, "server.crt"));
  CHECK(verifies(folder, {"-purpose", "sslclient"}, "operator.crt"));
  CHECK_FALSE(verifies(folder, {"-purpose", "sslserver"}, "operator.crt"));
  std::size_t files = 0;
  for (const std::string name : {"owner-root", "server", "operator"}) {
    CHECK(test::mode_of(folder / (name + ".key")) == 0600);
    CHECK(test::mode_of(folder / (name + ".crt")) == 0644);
    const auto key = test::must(crypto::PrivateKey::from_pem(test::get(folder / (name + ".key"))));
    CHECK(key.check_fits(test::must(crypto::Certificate::from_pem(test::get(folder / (name + ".crt")))).public_key()));
    files += 2;
  }
  CHECK(static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator())) == files);
  CHECK(std::distance(fs::directory_iterator(parent.path()), fs::directory_iterator()) == 1);
}

TEST_CASE("the development PKI serves the hosts that it is given") {
  const TempFolder parent;
  const fs::path folder = parent / "pki";
  REQUIRE(make_dev_pki({folder.string() + "/", "broker.example.org", "192.0.2.7", "2001:db8::7"}).exit_code == 0);
  CHECK(verifies(folder, {"-verify_hostname", "broker.example.org"}, "server.crt"));
  CHECK(verifies(folder, {"-verify_ip", "192.0.2.7"}, "server.crt"));
  CHECK(verifies(folder, {"-verify_ip", "2001:db8::7"}, "server.crt"));
  CHECK_FALSE(verifies(folder, {"-verify_hostname", "localhost"}, "server.crt"));
}

TEST_CASE("run a second time, the script changes nothing and says so") {
  const TempFolder parent;
  const fs::path folder = parent / "pki";
  REQUIRE(make_dev_pki({folder.string()}).exit_code == 0);
  const std::string before = test::get(folder / "owner-root.key");
  const Outcome again = make_dev_pki({folder.string()});
  CHECK(again.exit_code == 73);
  CHECK(again.errors.find("error: ") == 0);
  CHECK(test::get(folder / "owner-root.key") == before);
  test::put(parent / "file", "x");
  CHECK(make_dev_pki({(parent / "file").string()}).exit_code == 73);
}

TEST_CASE("the script refuses what is no host, and leaves nothing behind") {
  const TempFolder parent;
  for (const std::string host : {"a b", "a,DNS:evil", "", "a/b", "999.999.999.999", "a\nb"}) {
    CAPTURE(host);
    CHECK(make_dev_pki({(parent / "pki").string(), host}).exit_code != 0);
  }
  CHECK(make_dev_pki({}).exit_code == 64);
  CHECK(make_dev_pki({"--wrong"}).exit_code == 64);
  CHECK(make_dev_pki({"--help"}).exit_code == 0);
  CHECK(fs::is_empty(parent.path()));
}

}  // namespace
}  // namespace fleet::provisioner
