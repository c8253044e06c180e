// A provisioner without its broker: a real store in a temporary folder and a real executor, for tests of what operators
// do.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config/decoder.hpp"
#include "provisioner/edc/dialect.hpp"
#include "provisioner/manifest/apply.hpp"
#include "provisioner/manifest/manifest.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::provisioner::test {

// The PEM of a new self-signed CA.
std::string make_ca_pem(const std::string& name = "Owner CA");

// YAML of an account "acme" with a CA of its own, a profile "gateway" that needs the label "site", and a request for
// it.
std::string account_yaml(const std::string& url = "mqtts://broker.example:8883");
std::string profile_yaml(const std::string& spec = "");
std::string request_yaml(const std::string& name, const std::string& client_id, const std::string& spec = "");
inline const std::string kNextDocument = "---\n";

// The documents of a YAML text.
std::vector<config::Node> parse(const std::string& yaml);
// Decoded; fails the test if that is not possible.
std::vector<NumberedManifest> decode(const std::string& yaml);
// "path: why" of each problem of the only document.
std::vector<std::string> problems_of(const std::string& yaml);

class Platform {
 public:
  // `post` as for Store::open.
  explicit Platform(std::function<void(std::function<void()>)> post = [](std::function<void()> done) { done(); });

  // Applies and keeps the outcome unless there were problems.
  ApplyReport apply(const std::string& yaml, const ApplyOptions& options = kOperator);
  ProvisionRequest request(const std::string& name);
  bool has_request(const std::string& name);
  std::vector<TimelineEntry> timeline(const std::string& name);
  // Gives the request an open attempt, as an accepted hello does.
  void open_attempt(const std::string& name);
  void run(const Work& work);

  static const ApplyOptions kOperator;
  static const Bytes kVerifierKey;

  fleet::test::TempFolder folder;
  WallTime now = wall_now();
  EdcDialect dialect;
  Executor executor;
  std::unique_ptr<Store> store;
};

}  // namespace fleet::provisioner::test
