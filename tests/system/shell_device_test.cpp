// The protocol can be implemented by others: a device that is a shell script, made of mosquitto_pub, mosquitto_sub,
// protoc, openssl and curl, goes through the whole conversation with the real platform. And the script can be trusted
// as a description of a device: it says no to whatever a device must say no to.
#include <fstream>
#include <regex>

#include <boost/json.hpp>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "core/protocol/signature.hpp"
#include "tests/system/fake_platform.hpp"
#include "tests/system/password_broker.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

constexpr const char* kDevice = "02FC50000001";
const std::string kScripts = FLEET_SOURCE_DIR "/tests/system/";

void write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<std::string> command(int port, const Credentials& credentials, const std::filesystem::path& folder,
                                 const std::filesystem::path& root, std::vector<std::string> more) {
  std::filesystem::create_directories(folder);
  write(folder / "password", credentials.password + "\n");
  std::vector<std::string> all{kScripts + "shell_device.sh",
                               "--broker",
                               "localhost:" + std::to_string(port),
                               "--client-id",
                               credentials.client_id,
                               "--username",
                               credentials.username,
                               "--password-file",
                               (folder / "password").string(),
                               "--broker-ca-file",
                               root.string(),
                               "--platform-root-file",
                               root.string(),
                               "--state-dir",
                               (folder / "state").string()};
  if (!credentials.activation_key.empty()) {
    write(folder / "activation-key", credentials.activation_key + "\n");
    all.insert(all.end(), {"--activation-key-file", (folder / "activation-key").string()});
  }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// The script as a device of the real platform, to its end.
Outcome provision(const Rig& rig, const Credentials& credentials, std::vector<std::string> more = {}) {
  return run(command(rig.provision_port(), credentials, rig.folder() / ("shell-" + credentials.client_id),
                     rig.root_certificate(), std::move(more)),
             {}, 90s);
}

// The script as a device of a platform that the test plays.
class ShellDevice {
 public:
  explicit ShellDevice(const FakePlatform& platform, std::vector<std::string> more = {})
      : folder_(platform.folder() / "shell"),
        process_(Command{command(platform.port(), {"", kDevice, kDevice, "it-does-not-matter-here", ""}, folder_,
                                 platform.folder() / "root.crt", std::move(more))}) {}

  std::filesystem::path state() const { return folder_ / "state"; }
  std::string output() const { return process_.output(); }
  bool says(const std::string& what) {
    return eventually([&] { return holds(output(), what); }, 20s);
  }
  std::optional<int> wait() { return process_.wait(60s); }

 private:
  std::filesystem::path folder_;
  Process process_;
};

Draft request(const protocol::Prov& hello, const std::string& app, const std::string& method,
              const std::string& resource, protocol::KuraPayload payload) {
  payload.timestamp = to_unix_millis(wall_now());
  protocol::add_head(payload, {random_id(), std::string(kProvisioner), hello.nonce});
  return {protocol::RequestTopic{std::string(kAccount), kDevice, app, method, resource}.str(), std::move(payload)};
}

Draft download(const protocol::Prov& hello, const std::string& name, const std::string& uri,
               const std::string& content) {
  protocol::KuraPayload payload;
  payload.add("dp.uri", uri);
  payload.add("dp.name", name);
  payload.add("dp.version", std::string("1.2.0"));
  payload.add("dp.download.protocol", std::string("HTTPS"));
  payload.add("dp.download.hash", "SHA-256:" + to_hex(crypto::sha256(content)));
  payload.add("dp.install", true);
  payload.add("job.id", std::int64_t{4711});
  return request(hello, "DEPLOY-V2", "EXEC", "download", std::move(payload));
}

// The code of the script's reply, which takes its time.
std::int32_t reply(FakePlatform& platform, const Draft& draft, const Signer& signer) {
  return platform.reply_to(platform.send(draft, signer), Millis(20'000));
}

// The payloads that a device has published on a topic that ends so.
std::vector<protocol::KuraPayload> sent(const FakePlatform& platform, const std::string& end_of_topic) {
  std::vector<protocol::KuraPayload> all;
  for (const mqtt::Message& message : platform.heard()) {
    if (message.topic.ends_with(end_of_topic)) all.push_back(must(protocol::decode(message.payload)));
  }
  return all;
}

}  // namespace

TEST_CASE("a device of command line tools alone is provisioned and reaches its owner's broker") {
  Rig rig;
  rig.start_all();
  std::string form, csr_step, spec;
  SUBCASE("with its signing request in PROV") {
    form = "prov";
  }
  SUBCASE("with its signing request in a reply") {
    form = "object";
    csr_step = "KEYS-V1: sent the signing request\n";
  }
  SUBCASE("with its signing request as the bare string of stock Kura") {
    form = "string";
    csr_step = "KEYS-V1: sent the signing request as a string\n";
  }
  SUBCASE("with an activation key") {
    form = "prov";
    spec = "  generateActivationKey: true\n";
  }
  const Credentials gateway = rig.request("gw-1", kDevice, spec);
  CHECK(gateway.activation_key.empty() == spec.empty());
  const Outcome outcome = provision(rig, gateway, {"--csr", form});
  INFO(outcome.output << outcome.errors);
  CHECK(outcome.exit_code == 0);
  std::size_t at = 0;
  for (const std::string& line :
       {std::string("CERT-V1: commands are signed by"), csr_step, std::string("KEYS-V2: this device is"),
        std::string("KEYS-V1: the owner's broker comes from"), std::string("CONF-V1: the owner's broker is mqtts://"),
        std::string("200: the platform has recorded"), std::string("BIRTH: the owner's broker has taken it")}) {
    CAPTURE(line);
    const std::size_t found = outcome.output.find(line, at);
    REQUIRE(found != std::string::npos);
    at = found;
  }
  CHECK(rig.status("gw-1") == "COMPLETED");
  CHECK(eventually([&] { return rig.births(kDevice) == 1; }));
  CHECK(rig.sql("SELECT count(*) FROM attempt") == "1");
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "1");
}

TEST_CASE("a device that speaks MQTT 5 has the whole conversation, and reaches its owner's broker") {
  Rig rig;
  rig.start_all();
  const Outcome outcome = provision(rig, rig.request("gw-1", kDevice), {"--mqtt", "5"});
  INFO(outcome.output << outcome.errors);
  CHECK(outcome.exit_code == 0);
  CHECK(holds(outcome.output, "200: the platform has recorded"));
  CHECK(holds(outcome.output, "BIRTH: the owner's broker has taken it"));
  CHECK(rig.status("gw-1") == "COMPLETED");
  CHECK(rig.sql("SELECT count(*) FROM attempt") == "1");
  CHECK(eventually([&] { return rig.births(kDevice) == 1; }));
  // what the tools were told to speak, at both brokers
  for (const char* const broker : {"provision", "owner"}) {
    CHECK(holds(must(read_file(rig.folder() / ("shell-" + std::string(kDevice)) / "state" / broker / "mosquitto_sub")), "-V mqttv5\n"));
  }
}

TEST_CASE("a device of command line tools alone gets its applications from the platform, checks and keeps them") {
  Rig rig;
  rig.start_owner();
  rig.start_provisioner();
  const std::string app = std::string(300'000, 'p') + std::string("\0end", 4);
  write(rig.folder() / "app.tar.gz", app);
  write(rig.folder() / "small.tar.gz", "inline content");
  rig.apply(rig.account_and_profile("  packages:\n    - {name: app, version: 1.0, file: app.tar.gz}\n"
                                    "    - {name: small, version: 2.0, file: small.tar.gz, inline: true}\n"));
  const Outcome outcome = provision(rig, rig.request("gw-1", kDevice));
  INFO(outcome.output << outcome.errors << rig.provisioner_log());
  REQUIRE(outcome.exit_code == 0);
  const auto at = [&](std::string_view line) { return outcome.output.find(line); };
  CHECK(at("DEPLOY-V2: download of app 1.0\n") < at("DEPLOY-V2: app 1.0 is installed\n"));
  CHECK(holds(outcome.output, "DEPLOY-V1: small 2.0 is installed\n"));
  CHECK_MESSAGE(at("DEPLOY-V2: app 1.0 is installed") < at("CONF-V1: "), "the configuration waits for them");
  const auto packages = rig.folder() / "shell-02FC50000001" / "state" / "packages";
  CHECK(must(read_file(packages / "app" / "1.0")) == app);
  CHECK(must(read_file(packages / "small" / "2.0")) == "inline content");
  // what the operator has heard of it
  CHECK(rig.status("gw-1") == "COMPLETED");
  const std::string story = rig.describe("gw-1");
  CHECK(holds(story, "package app 1.0"));
  CHECK(std::regex_search(story, std::regex("accepted [^\n]*package small 2.0 in the message")));
  CHECK(eventually([&] { return rig.births(kDevice) == 1; }));
}

TEST_CASE("a device of command line tools alone reaches a broker of passwords with the one that it was told") {
  Rig rig;
  rig.start_provisioner();
  const PasswordBroker broker(rig, "strict");
  rig.apply(password_account(rig, "  credentials: password\n  connector: {plugin: " + broker.database().string() + "}\n"));
  const Outcome outcome = provision(rig, rig.request("gw-1", kDevice));
  INFO(outcome.output << outcome.errors << rig.provisioner_log() << broker.log());
  CHECK(outcome.exit_code == 0);
  CHECK(holds(outcome.output, "BIRTH: the owner's broker has taken it"));
  CHECK_MESSAGE(!holds(outcome.output, "KEYS-V2"), "there is no certificate to be had");
  CHECK(rig.status("gw-1") == "COMPLETED");
}

TEST_CASE("a device of command line tools alone is told no in words") {
  Rig rig;
  rig.start_all();
  Credentials gateway = rig.request("gw-1", kDevice, "  generateActivationKey: true\n");
  SUBCASE("with a wrong password the broker refuses it") {
    gateway.password = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const Outcome outcome = provision(rig, gateway);
    CHECK(outcome.exit_code == 77);
    CHECK(holds(outcome.errors, "does not admit this device"));
  }
  SUBCASE("with a wrong activation key the platform refuses it") {
    gateway.activation_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const Outcome outcome = provision(rig, gateway);
    CHECK(outcome.exit_code == 77);
    CHECK(holds(outcome.errors, "refused PROV: 401"));
  }
  CHECK(rig.births(kDevice) == 0);
}

TEST_CASE("a device of command line tools alone may come again when an operator says so, and keeps its certificate") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw-1", kDevice);
  REQUIRE(provision(rig, gateway).exit_code == 0);
  const Outcome again = provision(rig, gateway);
  CHECK(again.exit_code == 77);
  CHECK(holds(again.errors, "refused PROV: 409"));
  expect_ok(rig.cli({"retry", "request", "gw-1"}), "retry");
  const Outcome retried = provision(rig, gateway);
  INFO(retried.output << retried.errors);
  CHECK(retried.exit_code == 0);
  CHECK(rig.status("gw-1") == "COMPLETED");
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "1");
}

TEST_CASE("the shell device refuses a platform whose certificate is none of its root's signers") {
  FakePlatform platform;
  Signer signer = platform.signer();
  SUBCASE("another root") {
    signer = platform.stranger();
  }
  SUBCASE("the certificate of a device") {
    signer = platform.device_as_signer();
  }
  ShellDevice device(platform);
  const auto hello = platform.await_hello(kDevice);
  CHECK(reply(platform, platform.certificates(kDevice, hello, signer), signer) == 400);
  // and whatever comes after that
  CHECK(reply(platform, platform.certificates(kDevice, hello, platform.signer()), platform.signer()) == 400);
  CHECK_FALSE(std::filesystem::exists(device.state() / "attempt" / "signer.pub"));
}

TEST_CASE("the shell device gives up when its time is over") {
  FakePlatform platform;
  ShellDevice device(platform, {"--timeout", "3"});
  CHECK(device.wait() == 75);
  CHECK(holds(device.output(), "not provisioned within 3 s"));
}

TEST_CASE("the shell device drops what the platform has not signed for this attempt") {
  FakePlatform platform;
  ShellDevice device(platform);
  auto hello = platform.await_hello(kDevice);
  platform.send(platform.configuration(kDevice, hello), platform.signer());
  CHECK(device.says("it came before CERT-V1"));
  REQUIRE(reply(platform, platform.certificates(kDevice, hello, platform.signer()), platform.signer()) == 200);
  const Draft draft = platform.configuration(kDevice, hello);
  Bytes payload = signed_payload(draft, platform.signer());
  SUBCASE("altered on its way") {
    payload.replace(payload.find("acme"), 4, "evil");
    platform.send_bytes(draft.topic, payload);
    CHECK(device.says("its signature does not verify"));
  }
  SUBCASE("signed by somebody else") {
    platform.send_bytes(draft.topic, signed_payload(draft, platform.stranger()));
    CHECK(device.says("its signature does not verify"));
  }
  SUBCASE("another signing certificate of the platform within an attempt is more than that: it is refused") {
    const Signer other = platform.another_signer();
    CHECK(reply(platform, platform.certificates(kDevice, hello, other), other) == 400);
  }
  SUBCASE("of another attempt") {
    hello.nonce = random_bytes(16);
    platform.send(platform.configuration(kDevice, hello), platform.signer());
    CHECK(device.says("its prov.nonce is not ours"));
  }
  SUBCASE("not a payload") {
    platform.send_bytes(draft.topic, "\x01 this is none");
    CHECK(device.says("malformed"));
  }
  CHECK_FALSE(std::filesystem::exists(device.state() / "configurations.xml"));
}

TEST_CASE("the shell device fetches, checks and keeps applications, and tells how it went") {
  FakePlatform platform;
  const std::string content("application\0of bytes\n", 21);
  write(platform.folder() / "app.tar.gz", content);
  const int port = free_port();
  Process server(Command{{"sh", "-c",
                          "cd \"$1\" && exec openssl s_server -accept 127.0.0.1:$2 -cert server.crt -cert_chain "
                          "server.crt -key server.key -WWW",
                          "sh", platform.folder().path().string(), std::to_string(port)}});
  REQUIRE(eventually([&] { return holds(server.output(), "ACCEPT"); }));
  const std::string uri = "https://localhost:" + std::to_string(port) + "/app.tar.gz";

  ShellDevice device(platform);
  const auto hello = platform.await_hello(kDevice);
  INFO(device.output());
  const Signer& signer = platform.signer();
  REQUIRE(reply(platform, platform.certificates(kDevice, hello, signer), signer) == 200);
  REQUIRE(reply(platform, platform.device_certificate(kDevice, hello), signer) == 200);

  const std::string notify = std::string("/DEPLOY-V2/NOTIFY/") + kDevice;
  const auto notified = [&](const std::string& stage, const std::string& status) {
    for (int tries = 0; tries < 200; ++tries) {
      for (const auto& payload : sent(platform, notify + "/" + stage)) {
        const auto* said = payload.string("dp." + stage + ".status");
        const auto* job = payload.find("job.id");
        if (said != nullptr && *said == status && job != nullptr) return std::get<std::int64_t>(job->value) == 4711;
      }
      platform.listen(Millis(100));
    }
    return false;
  };
  SUBCASE("one that is what it should be") {
    CHECK(reply(platform, download(hello, "app", uri, content), signer) == 200);
    CHECK(notified("download", "COMPLETED"));
    CHECK(notified("install", "COMPLETED"));
    CHECK(must(read_file(device.state() / "packages" / "app" / "1.2.0")) == content);
  }
  SUBCASE("one with another hash") {
    CHECK(reply(platform, download(hello, "app", uri, "something else"), signer) == 200);
    CHECK(notified("download", "FAILED"));
    CHECK_FALSE(std::filesystem::exists(device.state() / "packages" / "app" / "1.2.0"));
  }
  SUBCASE("one whose name leads out of the folder") {
    CHECK(reply(platform, download(hello, "..", uri, content), signer) == 400);
  }
  SUBCASE("one that lies on the device itself") {
    CHECK(reply(platform, download(hello, "app", "file:///etc/passwd", content), signer) == 400);
  }
  SUBCASE("one in the message itself") {
    protocol::KuraPayload payload;
    payload.add("deploy.filename", std::string("app_1.2.0.tar.gz"));
    payload.body = std::string(300'000, '\xa5') + content;
    const std::string rid = platform.send(request(hello, "DEPLOY-V1", "EXEC", "install", payload), signer);
    CHECK(platform.reply_to(rid, Millis(20'000)) == 200);
    const auto replies = sent(platform, "/DEPLOY-V1/REPLY/" + rid);
    REQUIRE_FALSE(replies.empty());
    REQUIRE(replies.front().string("deploy.pkg.name") != nullptr);
    CHECK(*replies.front().string("deploy.pkg.name") == "app");
    CHECK(*replies.front().string("deploy.pkg.version") == "1.2.0");
    CHECK(must(read_file(device.state() / "packages" / "app" / "1.2.0")) == payload.body);
  }
  SUBCASE("a repeated request gets the same words again") {
    const Draft draft = download(hello, "app", uri, content);
    CHECK(reply(platform, draft, signer) == 200);
    REQUIRE(notified("install", "COMPLETED"));
    platform.send(draft, signer);
    const std::string topic = "/DEPLOY-V2/REPLY/" + rid_of(draft);
    for (int tries = 0; tries < 200 && sent(platform, topic).size() < 2; ++tries) platform.listen(Millis(100));
    const auto replies = sent(platform, topic);
    REQUIRE(replies.size() == 2);
    CHECK(replies[0] == replies[1]);
  }
}

TEST_CASE("the shell device reads the protocol's test vectors") {
  const TempFolder folder;
  const auto vectors = boost::json::parse(must(read_file(EDC_VECTORS))).as_object();
  const auto shell = [&](const std::string& commands, const std::string& topic = "") {
    return run({"bash", "-c",
                "set -euo pipefail; export LC_ALL=C; work=$1; . \"$2\"; make_schema; decode \"$work/in\"; " + commands,
                "bash", folder.path().string(), kScripts + "shell_payload.sh", topic});
  };
  const auto bytes = [](const boost::json::value& hex) { return must(from_hex(std::string(hex.as_string()))); };
  const auto lower = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
  };
  for (const auto& entry : vectors.at("signatures").as_array()) {
    const auto& vector = entry.as_object();
    const std::string topic(vector.at("topic").as_string());
    write(folder / "in", bytes(vector.at("payload_hex")));
    write(folder / "key.pub", std::string(vector.at("public_key_pem").as_string()));
    const bool valid = shell("signed_with \"$1/key.pub\" \"$3\"", topic).exit_code == 0;
    CHECK(valid == vector.at("valid").as_bool());
    if (!vector.contains("signing_input_hex")) continue;
    CHECK(lower(shell("signing_input \"$3\"", topic).output) == vector.at("signing_input_hex").as_string());
  }
  for (const auto& entry : vectors.at("payloads").as_array()) {
    const auto& vector = entry.as_object();
    // both forms are the same to a signature; the types at their edges are in here
    const auto input_of = [&](const char* form) {
      write(folder / "in", bytes(vector.at(form)));
      return shell("signing_input topic").output;
    };
    const auto payload = must(protocol::decode(bytes(vector.at("hex"))));
    CHECK(lower(input_of("hex")) == to_hex(protocol::signing_input("topic", payload)));
    CHECK(input_of("gzip_hex") == input_of("hex"));
  }
  for (const auto& entry : vectors.at("malformed_hex").as_array()) {
    write(folder / "in", bytes(entry));
    CHECK(shell("true").exit_code != 0);
  }
}
