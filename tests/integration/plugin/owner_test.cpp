// edc §5: the owner's broker, where devices come with the certificate that provisioning gave them.
#include <fstream>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "provisioner/owner/projection.hpp"
#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using crypto::CertificateProfile;

namespace {

// A root, a device CA below it, a server certificate, and devices.
class Pki {
 public:
  explicit Pki(const std::filesystem::path& folder) : folder_(folder) {
    const auto root_key = crypto::PrivateKey::generate().value();
    const auto root = crypto::issue_root(request(CertificateProfile::kRootCa, "root"), root_key).value();
    const auto ca_key = crypto::PrivateKey::generate().value();
    const crypto::Issuer root_issuer{root, root_key};
    const auto ca =
        crypto::issue(request(CertificateProfile::kDeviceCa, "device CA"), ca_key.public_key(), root_issuer).value();
    devices_.emplace(crypto::Issuer{ca, ca_key});
    save("roots.pem", root.to_pem());
    save("device-cas.pem", ca.to_pem() + root.to_pem());
    const auto server_key = crypto::PrivateKey::generate().value();
    auto server = request(CertificateProfile::kServer, "localhost");
    server.san_names = {"localhost", "127.0.0.1"};
    save("server.pem", crypto::issue(server, server_key.public_key(), root_issuer).value().to_pem());
    save("server.key", server_key.to_pem().reveal());
  }

  void add(const std::string& name) {
    const auto key = crypto::PrivateKey::generate().value();
    const auto leaf = crypto::issue(request(CertificateProfile::kDevice, name), key.public_key(), *devices_).value();
    save(name + ".pem", crypto::to_pem({leaf, devices_->certificate}));
    save(name + ".key", key.to_pem().reveal());
  }

 private:
  static crypto::CertificateRequest request(CertificateProfile profile, const std::string& name) {
    return {profile, name, {}, wall_now() - std::chrono::hours(1), wall_now() + std::chrono::hours(24)};
  }
  void save(const std::string& name, std::string_view text) { REQUIRE(write_file(folder_ / name, text)); }

  std::filesystem::path folder_;
  std::optional<crypto::Issuer> devices_;
};

class OwnerBroker {
 public:
  // With `passwords` the devices of the password projection, which devices are added to by add_login().
  explicit OwnerBroker(const std::string& credentials, bool require_certificate = true, bool passwords = false)
      : pki_(folder_.path()), port_(free_port()) {
    pki_.add("gw-1");
    pki_.add("gw-2");
    install_plugin(folder_.path());
    std::ofstream conf(folder_ / "mosquitto.conf");
    conf << "per_listener_settings false\nallow_anonymous false\nlog_dest stderr\n";
    if (running_as_root()) conf << "user root\n";
    conf << "plugin " << path("provisioner_auth.so") << "\nplugin_opt_mode owner\nplugin_opt_account acme\n"
         << "plugin_opt_credentials " << credentials << "\nplugin_opt_local_socket " << path("s") << "\n"
         << (passwords ? "plugin_opt_password_db " + path("owner.db") + "\n" : "")
         << "listener " << port_ << " 127.0.0.1\ncafile " << path("device-cas.pem") << "\ncertfile "
         << path("server.pem") << "\nkeyfile " << path("server.key") << "\nrequire_certificate "
         << (require_certificate ? "true" : "false") << "\nlistener 0 " << path("s") << "\n";
    conf.close();
    process_.emplace(mosquitto_command(folder_ / "mosquitto.conf", folder_ / "broker.log"));
    REQUIRE(wait_until_listening(*process_, folder_ / "s"));
  }

  std::vector<std::string> device(const std::string& client_id, const std::string& certificate = "") const {
    std::vector<std::string> who{"-h", "localhost", "-p",       std::to_string(port_),
                                 "-i", client_id,   "--cafile", path("roots.pem")};
    if (!certificate.empty()) {
      who.insert(who.end(), {"--cert", path(certificate + ".pem"), "--key", path(certificate + ".key")});
    }
    return who;
  }
  void add_login(const std::string& client_id, const std::string& username, const std::string& password) const {
    REQUIRE(provisioner::write_owner_login(
        folder_ / "owner.db", provisioner::OwnerLogin{"acme", client_id, username, Secret(password), true}));
  }
  int connect(const std::string& client_id, const std::string& username, const std::string& password) const {
    return publish(device(client_id), "acme/" + client_id + "/data", "x", {"-u", username, "-P", password}).exit_code;
  }
  std::vector<std::string> local() const { return {"--unix", path("s"), "-i", "anybody"}; }

  Outcome publish(std::vector<std::string> who, const std::string& topic, const std::string& payload = "x",
                  std::vector<std::string> more = {}) const {
    who.insert(who.begin(), "mosquitto_pub");
    who.insert(who.end(), {"-V", "mqttv5", "-q", "1", "-t", topic, "-m", payload});
    who.insert(who.end(), more.begin(), more.end());
    return run(who);
  }
  bool may_publish(const std::vector<std::string>& who, const std::string& topic,
                   const std::vector<std::string>& more = {}) const {
    const Outcome outcome = publish(who, topic, "x", more);
    return outcome.exit_code == 0 && outcome.errors.find("Not authorized") == std::string::npos;
  }
  bool may_subscribe(std::vector<std::string> who, const std::string& filter) const {
    who.insert(who.begin(), "mosquitto_sub");
    who.insert(who.end(), {"-q", "1", "-t", filter, "-E"});
    const Outcome outcome = run(who);
    return outcome.exit_code == 0 && outcome.errors.find("denied") == std::string::npos;
  }
  Subscriber listen(std::vector<std::string> who, const std::string& filter) const {
    who.insert(who.end(), {"-q", "1", "-t", filter});
    return Subscriber(who);
  }

 private:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  TempFolder folder_;
  Pki pki_;
  int port_;
  std::optional<Process> process_;
};

constexpr int kNotAuthorized = 0x87;

}  // namespace

TEST_CASE("strict credentials: the certificate's name is the client id") {
  const OwnerBroker broker("strict");
  CHECK(broker.publish(broker.device("gw-1", "gw-1"), "acme/gw-1/data").exit_code == 0);
  CHECK(broker.publish(broker.device("gw-1", "gw-2"), "acme/gw-1/data").exit_code == kNotAuthorized);
  CHECK(broker.publish(broker.device("GW-1", "gw-1"), "acme/GW-1/data").exit_code == kNotAuthorized);
  CHECK(broker.publish(broker.device("gw-1"), "acme/gw-1/data").exit_code != 0);
  // a password does not replace the certificate's name
  CHECK(broker.publish(broker.device("gw-1", "gw-2"), "acme/gw-1/data", "x", {"-u", "gw-1", "-P", "x"}).exit_code ==
        kNotAuthorized);
}

TEST_CASE("loose credentials: any device's certificate, but no client id without its form") {
  const OwnerBroker broker("loose");
  CHECK(broker.may_publish(broker.device("gw-1", "gw-2"), "acme/gw-1/data"));
  CHECK(broker.publish(broker.device("gw+1", "gw-1"), "acme/x/data").exit_code == kNotAuthorized);
  CHECK(broker.publish(broker.device("gw-1"), "acme/gw-1/data").exit_code != 0);
}

TEST_CASE("without a certificate nobody is admitted, even if the listener does not require one") {
  const OwnerBroker broker("loose", false);
  CHECK(broker.publish(broker.device("gw-1"), "acme/gw-1/data").exit_code == kNotAuthorized);
}

TEST_CASE("a device has its two trees on the owner's broker, both ways and retained, and nothing else") {
  const OwnerBroker broker("strict");
  const auto device = broker.device("gw-1", "gw-1");
  const Subscriber console = broker.listen(broker.local(), "$EDC/acme/+/MQTT/BIRTH");
  REQUIRE(console.subscribed());
  CHECK(broker.may_publish(device, "$EDC/acme/gw-1/MQTT/BIRTH"));
  // topics stay as they are here
  CHECK(eventually([&] { return console.got("$EDC/acme/gw-1/MQTT/BIRTH", "x"); }));
  CHECK(broker.may_publish(device, "acme/gw-1/data", {"-r"}));
  for (const char* topic : {"acme/gw-2/data", "$EDC/acme/gw-2/MQTT/BIRTH", "other/gw-1/data", "data", "$SYS/x",
                            "$CONTROL/provisioner/v1", "$PROVISIONER/in/gw-1/x"}) {
    CAPTURE(topic);
    CHECK_FALSE(broker.may_publish(device, topic));
  }
  CHECK(broker.may_subscribe(device, "$EDC/acme/gw-1/#"));
  CHECK(broker.may_subscribe(device, "acme/gw-1/#"));
  for (const char* filter : {"#", "acme/#", "acme/+/data", "$EDC/acme/#", "$SYS/#", "acme/gw-2/#"}) {
    CAPTURE(filter);
    CHECK_FALSE(broker.may_subscribe(device, filter));
  }
  const Subscriber listener = broker.listen(device, "$EDC/acme/gw-1/#");
  REQUIRE(listener.subscribed());
  CHECK(broker.may_publish({"--unix", broker.local()[1], "-i", "other"}, "$EDC/acme/gw-1/APP/GET/x"));
  CHECK(eventually([&] { return listener.got("$EDC/acme/gw-1/APP/GET/x", "x"); }));
}

TEST_CASE("strict passwords: known to the provisioner, and good for their own device only") {
  const OwnerBroker broker("strict", false, true);
  CHECK(broker.connect("gw-1", "one", "first") == kNotAuthorized);  // there is nothing yet
  broker.add_login("gw-1", "one", "first");
  broker.add_login("gw-2", "two", "second");
  CHECK(eventually([&] { return broker.connect("gw-1", "one", "first") == 0; }));
  CHECK(broker.connect("gw-2", "two", "second") == 0);
  CHECK(broker.connect("gw-1", "one", "second") == kNotAuthorized);
  CHECK(broker.connect("gw-1", "two", "second") == kNotAuthorized);
  CHECK(broker.connect("gw-3", "one", "first") == kNotAuthorized);
  CHECK(broker.publish(broker.device("gw-1"), "acme/gw-1/data").exit_code == kNotAuthorized);
  // a certificate does not replace the password
  CHECK(broker.publish(broker.device("gw-1", "gw-1"), "acme/gw-1/data").exit_code == kNotAuthorized);
  // new credentials hold from the next connection on
  broker.add_login("gw-1", "one", "changed");
  CHECK(broker.connect("gw-1", "one", "first") == kNotAuthorized);
  CHECK(broker.connect("gw-1", "one", "changed") == 0);
}

TEST_CASE("loose passwords: any client id that has its form, with the rights of that id") {
  const OwnerBroker broker("loose", false, true);
  broker.add_login("gw-1", "one", "first");
  CHECK(eventually([&] { return broker.connect("gw-1", "one", "first") == 0; }));
  CHECK(broker.connect("other", "one", "first") == 0);
  CHECK(broker.connect("gw-1", "one", "wrong") == kNotAuthorized);
  CHECK(broker.connect("gw-1", "gw-1", "first") == kNotAuthorized);
  CHECK(broker.publish(broker.device("gw+1"), "acme/x/data", "x", {"-u", "one", "-P", "first"}).exit_code ==
        kNotAuthorized);
  CHECK_FALSE(broker.may_publish(broker.device("other"), "acme/gw-1/data", {"-u", "one", "-P", "first"}));
}
