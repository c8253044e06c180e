#include "tests/unit/provisioner/manifest/platform.hpp"

#include <doctest/doctest.h>

#include "core/base/log.hpp"
#include "core/crypto/certificate.hpp"

namespace fleet::provisioner::test {
namespace {

ExecutorSettings executor_settings() {
  ExecutorSettings settings;
  settings.verifier_key = Platform::kVerifierKey;
  settings.issue = [](const std::string&, const crypto::PublicKey&, Millis, WallTime) -> Result<crypto::NewCertificate> {
    return fail(ErrorCode::kUnavailable, "no CA in this test");
  };
  return settings;
}

std::string indented(const std::string& text, const std::string& by) {
  std::string result = by;
  for (const char c : text) {
    result += c;
    if (c == '\n') result += by;
  }
  return result;
}

}  // namespace

const Bytes Platform::kVerifierKey(32, 'k');
const ApplyOptions Platform::kOperator{.allow_weak = false,
                                       .by = "uid 1000 (olga)",
                                       .provisioner_id = "provisioner",
                                       .verifier_key = Platform::kVerifierKey};

std::string make_ca_pem(const std::string& name) {
  const auto key = crypto::PrivateKey::generate().value();
  const WallTime now = wall_now();
  return crypto::issue_root({crypto::CertificateProfile::kRootCa, name, {}, now - Seconds(60), now + Seconds(86'400)},
                            key)
      .value()
      .to_pem();
}

std::string account_yaml(const std::string& url) {
  static const std::string kCa = make_ca_pem();
  return "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec:\n  credentials: x509\n  broker:\n   "
         " url: " +
         url + "\n    ca: |\n" + indented(kCa, "      ") + "\n";
}

std::string profile_yaml(const std::string& spec) {
  return "apiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: gateway}\nspec:\n  account: acme\n"
         "  configuration:\n    org.example.Site: {site: \"${labels.site}\", interval: 30}\n" +
         spec;
}

std::string request_yaml(const std::string& name, const std::string& client_id, const std::string& spec) {
  return "apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: " + name +
         ", labels: {site: north}}\nspec:\n  profile: gateway\n  clientId: \"" + client_id +
         "\"\n  provisionUserUsername: \"" + client_id + "-SN1\"\n" + spec;
}

std::vector<config::Node> parse(const std::string& yaml) {
  std::vector<config::Node> nodes;
  config::YamlReader reader(yaml);
  while (true) {
    auto next = reader.next();
    REQUIRE_MESSAGE(next.has_value(), (next ? "" : next.error().message));
    if (!*next) return nodes;
    nodes.push_back(std::move(**next));
  }
}

std::vector<NumberedManifest> decode(const std::string& yaml) {
  std::vector<NumberedManifest> manifests;
  for (const config::Node& node : parse(yaml)) {
    config::Problems problems;
    auto manifest = decode_manifest(node, problems);
    REQUIRE_MESSAGE(manifest.has_value(), (problems.empty() ? "" : problems.list().front().str()));
    manifests.push_back({manifests.size(), std::move(*manifest)});
  }
  return manifests;
}

std::vector<std::string> problems_of(const std::string& yaml) {
  const std::vector<config::Node> nodes = parse(yaml);
  REQUIRE(nodes.size() == 1);
  config::Problems problems;
  const auto manifest = decode_manifest(nodes.front(), problems);
  CHECK(manifest.has_value() == problems.empty());
  std::vector<std::string> texts;
  for (const config::Problem& problem : problems.list()) {
    CHECK(problem.mark.line > 0);
    texts.push_back(problem.path + ": " + problem.why);
  }
  return texts;
}

Platform::Platform(std::function<void(std::function<void()>)> post)
    : dialect("provision", "provisioner", crypto::PrivateKey::generate().value()),
      executor(executor_settings(), dialect) {
  log::set_level(log::Level::kError);
  StoreSettings settings;
  settings.database = folder / "provisioner.db";
  settings.admission = folder / "admission.db";
  auto opened = Store::open(std::move(settings), std::move(post));
  REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
  store = std::move(*opened);
}

ApplyReport Platform::apply(const std::string& yaml, const ApplyOptions& options) {
  const std::vector<NumberedManifest> manifests = decode(yaml);
  ApplyReport report;
  const auto done =
      store->run([&](Transaction& tx) { return provisioner::apply(tx, executor, manifests, options, now, report); });
  CHECK(done.has_value() == report.problems.empty());
  return report;
}

ProvisionRequest Platform::request(const std::string& name) {
  std::optional<ProvisionRequest> found;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(found, tx.find_request_by_name(name));
    return {};
  });
  REQUIRE(found.has_value());
  return std::move(*found);
}

bool Platform::has_request(const std::string& name) {
  bool has = false;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto found, tx.find_request_by_name(name));
    has = found.has_value();
    return {};
  });
  return has;
}

std::vector<TimelineEntry> Platform::timeline(const std::string& name) {
  std::vector<TimelineEntry> lines;
  const std::int64_t id = request(name).id;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(lines, tx.timeline_of(id, 100));
    return {};
  });
  return lines;
}

void Platform::open_attempt(const std::string& name) {
  Attempt attempt;
  attempt.request_id = request(name).id;
  attempt.nonce = Bytes(16, 'n');
  attempt.started_at = attempt.moved_at = now;
  attempt.due_at = now + Seconds(10);
  run([&](Transaction& tx) { return tx.insert_attempt(attempt); });
}

void Platform::run(const Work& work) {
  const auto done = store->run(work);
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().message));
}

}  // namespace fleet::provisioner::test
