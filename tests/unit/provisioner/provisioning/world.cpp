#include "tests/unit/provisioner/provisioning/world.hpp"

#include <algorithm>
#include <cctype>

#include <doctest/doctest.h>

#include "core/base/log.hpp"
#include "core/crypto/digest.hpp"
#include "core/protocol/deploy.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::provisioner::test {

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

crypto::CertificateRequest certificate_request(crypto::CertificateProfile profile, std::string name, WallTime now) {
  return {profile, std::move(name), {}, now - Seconds(60), now + Seconds(10L * 365 * 86'400)};
}

std::unique_ptr<Store> open_store(const fleet::test::TempFolder& folder) {
  StoreSettings settings;
  settings.database = folder / "provisioner.db";
  settings.admission = folder / "admission.db";
  auto opened = Store::open(std::move(settings), [](std::function<void()> done) { done(); });
  REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
  return std::move(*opened);
}

}  // namespace

Hello Device::hello(const std::string& nonce, const std::string& hello_id) const {
  Hello hello;
  hello.username = username;
  hello.password = Secret(password);
  if (!hello_id.empty()) hello.hello_id = hello_id;
  if (!nonce.empty()) hello.nonce = nonce;
  hello.csr_der = crypto::Csr::create(key, "whatever").value();
  hello.reason = "first-boot";
  hello.facts = {{"serial_number", "4711"}};
  return hello;
}

std::string Device::request_pem() const {
  return "-----BEGIN CERTIFICATE REQUEST-----\n" + to_base64(crypto::Csr::create(key, "whatever").value()) +
         "\n-----END CERTIFICATE REQUEST-----\n";
}

World::World() : signing_key_(crypto::PrivateKey::generate().value()) {
  log::set_level(log::Level::kWarn);
  using crypto::CertificateProfile;
  const auto root_key = crypto::PrivateKey::generate().value();
  const auto root = crypto::issue_root(certificate_request(CertificateProfile::kRootCa, "root", now), root_key).value();
  const crypto::Issuer root_issuer{root, root_key};
  const auto make_ca = [&](CertificateProfile profile, const std::string& name) {
    const auto key = crypto::PrivateKey::generate().value();
    return crypto::Issuer{crypto::issue(certificate_request(profile, name, now), key.public_key(), root_issuer).value(),
                          key};
  };
  device_ca_ = make_ca(CertificateProfile::kDeviceCa, "device CA");
  const crypto::Issuer platform_ca = make_ca(CertificateProfile::kPlatformCa, "platform CA");
  const auto leaf = crypto::issue(certificate_request(CertificateProfile::kCommandSigning, "signing", now),
                                  signing_key_.public_key(), platform_ca)
                        .value();
  dialect_ = std::make_unique<EdcDialect>("provision", "provisioner", signing_key_);
  ExecutorSettings settings;
  settings.verifier_key = verifier_key;
  settings.signing_chain_pem = crypto::to_pem({leaf, platform_ca.certificate});
  settings.device_ca_chain_pem = device_ca_->certificate.to_pem();
  settings.issue = [this](const std::string& client_id, const crypto::PublicKey& key, Millis validity,
                          WallTime when) -> Result<crypto::NewCertificate> {
    if (!ca_works) return fail(ErrorCode::kUnavailable, "the CA is away");
    ++issued;
    return crypto::issue_unread({crypto::CertificateProfile::kDevice, client_id, {}, when, when + validity}, key, *device_ca_);
  };
  settings.package_url = [](const Package& package, std::int64_t request_id, int attempt) -> Result<std::string> {
    return fmt::format("https://packages.test/{}?a={}.{}", package.sha256, request_id, attempt);
  };
  settings.read_package = [this](const Package& package) -> Result<Bytes> {
    const auto found = package_contents.find(package.name);
    if (found == package_contents.end()) return fail(ErrorCode::kNotFound, "package {}: its file is gone", package.name);
    return found->second;
  };
  executor = std::make_unique<Executor>(std::move(settings), *dialect_);

  store_ = open_store(folder_);
  run([&](Transaction& tx) -> Result<void> {
    TRY(tx.put_account({"plant", "mqtts://broker.plant:8883", {root.to_pem()}}));
    Profile profile;
    profile.name = "standard";
    profile.account = "plant";
    profile.configuration = {
        {"org.plant.Site", {{"name", protocol::PropertyType::kString, false, false, {"${clientId}"}}}}};
    return tx.put_profile(profile);
  });
}

Device World::add_device(const std::string& client_id) {
  Device device{client_id, client_id + "-user", std::string(random_password().reveal()),
                crypto::PrivateKey::generate().value()};
  ProvisionRequest request;
  request.name = lower(client_id);
  request.profile = "standard";
  request.client_id = client_id;
  request.username = device.username;
  request.connect_verifier = crypto::secret_verifier(verifier_key, kConnectPurpose, client_id, device.password);
  request.username_verifier = crypto::secret_verifier(verifier_key, kUsernamePurpose, device.username, device.password);
  request.created_at = request.updated_at = now;
  run([&](Transaction& tx) { return tx.insert_request(request); });
  return device;
}

void World::change_request(const std::string& name, const std::function<void(ProvisionRequest&)>& change) {
  ProvisionRequest changed = request(name);
  change(changed);
  run([&](Transaction& tx) { return tx.update_request(changed); });
}

void World::run(const Work& work, bool keep) {
  if (!keep) {
    Result<void> inner;
    const Result<void> undone = store_->run([&](Transaction& tx) -> Result<void> {
      inner = work(tx);
      return fail(ErrorCode::kConflict, "rolled back by the test");
    });
    REQUIRE_MESSAGE(inner.has_value(), (inner ? "" : inner.error().message));
    REQUIRE(!undone.has_value());
    return;
  }
  const Result<void> done = store_->run(work);
  REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().message));
}

void World::reopen() {
  store_.reset();
  store_ = open_store(folder_);
}

std::vector<Heard> World::take(const Outcome& outcome) {
  std::vector<Heard> heard;
  for (const Outgoing& message : outcome.send) {
    const auto payload = protocol::decode(message.payload);
    REQUIRE(payload.has_value());
    const auto parts = protocol::signature_of(*payload);
    REQUIRE(parts.has_value());
    CHECK(signing_key_.public_key()
              .verify(parts->algorithm, protocol::signing_input(message.topic, *payload), parts->signature)
              .has_value());
    Heard one;
    one.client_id = message.client_id;
    one.raw = message.payload;
    one.payload = *payload;
    if (payload->blob("prov.nonce") != nullptr) one.nonce = *payload->blob("prov.nonce");
    const auto topic = protocol::parse_topic(message.topic);
    REQUIRE(topic.has_value());
    if (const auto* answer = std::get_if<protocol::ReplyTopic>(&*topic)) {
      CHECK(answer->requester == message.client_id);
      const auto reply = protocol::parse_reply(*payload).value();
      one.app = answer->app;
      one.id = answer->request_id;
      one.code = reply.code;
      one.error = reply.error;
      one.retry_after = reply.retry_after_s;
    } else {
      const auto& request = std::get<protocol::RequestTopic>(*topic);
      CHECK(request.client_id == message.client_id);
      one.app = request.app;
      one.id = protocol::parse_head(*payload).value().request_id;
    }
    heard.push_back(std::move(one));
  }
  kicked.insert(kicked.end(), outcome.kick.begin(), outcome.kick.end());
  to_hand_over.insert(to_hand_over.end(), outcome.hand_over.begin(), outcome.hand_over.end());
  to_take_back.insert(to_take_back.end(), outcome.take_back.begin(), outcome.take_back.end());
  misses += outcome.misses;
  return heard;
}

std::vector<Heard> World::hello(const Device& device, const Hello& hello) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->on_hello(tx, device.client_id, hello, now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::hello(const Device& device, const std::string& nonce, const std::string& hello_id) {
  return hello(device, device.hello(nonce, hello_id));
}

std::vector<Heard> World::reply(const Device& device, const Heard& to, int code, const std::string& error) {
  return reply_at_once(device, {{to, code, error}});
}

std::vector<Heard> World::reply_at_once(const Device& device, const std::vector<Said>& all) {
  const std::map<std::string, StepKind> kinds{{"CERT-V1", StepKind::kSigningCertificates},
                                              {"KEYS-V2", StepKind::kDeviceCertificate},
                                              {"KEYS-V1", StepKind::kTrustedCertificate},
                                              {"DEPLOY-V2", StepKind::kPackage},
                                              {"DEPLOY-V1", StepKind::kInlinePackage},
                                              {"CONF-V1", StepKind::kConfiguration}};
  std::vector<StepReply> replies;
  for (const Said& said : all) {
    replies.push_back({said.to.id, kinds.at(said.to.app), said.code, said.error});
    if (!said.signing_request_pem.empty()) replies.back().signing_request_pem = said.signing_request_pem;
  }
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->on_replies(tx, device.client_id, replies, now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::bring_request(const Device& device, const Heard& to, const std::string& pem) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome,
               executor->on_replies(tx, device.client_id, {{to.id, StepKind::kTrustedCertificate, 200, "", pem}}, now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::reply_as(const Device& device, const std::string& rid, StepKind kind, int code) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->on_replies(tx, device.client_id, {{rid, kind, code, ""}}, now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::notify(const Device& device, const JobNotice& notice) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->on_notice(tx, device.client_id, notice, now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::notify(const Device& device, const Heard& of, JobNotice::Phase phase, JobNotice::State state,
                                 int progress, const std::string& error) {
  const auto asked = protocol::parse_download_request(of.payload);
  REQUIRE(asked.has_value());
  return notify(device, {asked->job_id, phase, state, progress, error});
}

std::vector<Heard> World::install(const Device& device, const Heard& of) {
  auto heard = notify(device, of, JobNotice::Phase::kDownload, JobNotice::State::kDone, 100);
  for (Heard& more : notify(device, of, JobNotice::Phase::kInstall, JobNotice::State::kDone, 100)) {
    heard.push_back(std::move(more));
  }
  return heard;
}

std::vector<Heard> World::hand_over(const std::string& name) {
  Outcome outcome;
  const std::int64_t id = attempts(name).back().id;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->on_handed_over(tx, id, now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::fail_to_hand_over(const std::string& name, const std::string& why) {
  Outcome outcome;
  const std::int64_t id = attempts(name).back().id;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->on_not_handed_over(tx, id, why, now));
    return {};
  });
  return take(outcome);
}

void World::change_account(const std::function<void(Account&)>& change) {
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto account, tx.find_account("plant"));
    change(*account);
    return tx.put_account(*account);
  });
}

void World::change_profile(const std::function<void(Profile&)>& change) {
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto profile, tx.find_profile("standard"));
    change(*profile);
    return tx.put_profile(*profile);
  });
}

void World::set_packages(std::vector<Package> packages) {
  change_profile([&](Profile& profile) { profile.packages = packages; });
}

std::vector<Heard> World::accept_all(const Device& device, const std::vector<Heard>& messages) {
  std::vector<Heard> heard;
  for (const Heard& message : messages) {
    if (message.app == "PROV-V1") continue;
    for (Heard& back : reply(device, message)) heard.push_back(std::move(back));
  }
  return heard;
}

std::vector<Heard> World::sweep() {
  Executor::Swept swept;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(swept, executor->sweep(tx, now, 100));
    return {};
  });
  CHECK(!swept.more);
  return take(swept.outcome);
}

void World::come_back() {
  run([&](Transaction& tx) { return executor->on_return(tx, now); });
}

std::vector<Heard> World::retry(const std::string& name) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->retry(tx, name, "tester", now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::set_enabled(const std::string& name, bool enabled) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->set_enabled(tx, name, enabled, "tester", now));
    return {};
  });
  return take(outcome);
}

std::vector<Heard> World::remove(const std::string& name) {
  Outcome outcome;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, executor->remove(tx, name, "tester", now));
    return {};
  });
  return take(outcome);
}

std::optional<ProvisionRequest> World::find_request(const std::string& name) {
  std::optional<ProvisionRequest> found;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(found, tx.find_request_by_name(name));
    return {};
  });
  return found;
}

ProvisionRequest World::request(const std::string& name) {
  const auto found = find_request(name);
  REQUIRE(found.has_value());
  return *found;
}

std::vector<Attempt> World::attempts(const std::string& name) {
  const std::int64_t id = request(name).id;
  std::vector<Attempt> found;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(found, tx.attempts_of(id));
    return {};
  });
  return found;
}

std::vector<Step> World::steps(std::int64_t attempt_id) {
  std::vector<Step> found;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(found, tx.steps_of(attempt_id));
    return {};
  });
  return found;
}

std::vector<IssuedCertificate> World::certificates(const std::string& client_id) {
  std::vector<IssuedCertificate> found;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(found, tx.certificates_of(client_id));
    return {};
  });
  return found;
}

std::vector<std::string> World::timeline(const std::string& name) {
  const std::int64_t id = request(name).id;
  std::vector<TimelineEntry> entries;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(entries, tx.timeline_of(id, 1000));
    return {};
  });
  std::vector<std::string> lines;
  for (const TimelineEntry& entry : entries) lines.push_back(entry.kind + ": " + entry.text);
  return lines;
}

std::string line_of(const std::vector<Heard>& messages) {
  std::string line;
  for (const Heard& message : messages) {
    if (!line.empty()) line += ' ';
    line += message.app == "PROV-V1" ? std::to_string(message.code) : message.app;
  }
  return line;
}

Heard find(const std::vector<Heard>& messages, const std::string& app) {
  const auto found =
      std::find_if(messages.begin(), messages.end(), [&](const Heard& message) { return message.app == app; });
  REQUIRE(found != messages.end());
  return *found;
}

std::vector<Heard> all_of(const std::vector<Heard>& messages, const std::string& app) {
  std::vector<Heard> found;
  std::copy_if(messages.begin(), messages.end(), std::back_inserter(found),
               [&](const Heard& message) { return message.app == app; });
  return found;
}

Package package(const std::string& name, PackageSource source, bool required) {
  Package package;
  package.name = name;
  package.version = "1.0";
  package.source = source;
  if (source == PackageSource::kUrl) package.url = "https://example.test/" + name + "/${clientId}.tar.gz";
  if (source != PackageSource::kUrl) package.file_name = name + ".tar.gz";
  package.sha256 = std::string(64, 'a');
  package.required_before_configuration = required;
  return package;
}

}  // namespace fleet::provisioner::test
