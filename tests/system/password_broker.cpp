#include "tests/system/password_broker.hpp"

#include <stdexcept>

#include "core/base/file.hpp"

namespace fleet::test {

PasswordBroker::PasswordBroker(const Rig& rig, const std::string& credentials)
    : folder_(rig.folder() / "owner"), port_(rig.owner_port()) {
  const std::string socket = (folder_ / "mqtt.sock").string();
  const std::filesystem::path conf = folder_ / "passwords.conf";
  const auto written = write_file(
      conf, "user root\nper_listener_settings false\nlistener " + std::to_string(port_) + " 127.0.0.1\ncertfile " +
                (folder_ / "server.crt").string() + "\nkeyfile " + (folder_ / "server.key").string() +
                "\nset_tcp_nodelay true\nlistener 0 " + socket + "\nplugin " + std::string(FLEET_PLUGIN) +
                "\nplugin_opt_mode owner\nplugin_opt_account acme\nplugin_opt_credentials " + credentials +
                "\nplugin_opt_password_db " + database().string() + "\nplugin_opt_local_socket " + socket + "\n");
  if (!written) throw std::runtime_error(written.error().message);
  process_.emplace(Command{{"/usr/sbin/mosquitto", "-c", conf.string()}, {}, folder_ / "broker.log"});
  if (!eventually([&] { return std::filesystem::exists(socket); })) throw std::runtime_error("no owner's broker");
}

int PasswordBroker::connect(const std::string& client_id, const std::string& username,
                            const std::string& password) const {
  return run({"mosquitto_pub", "-h", "localhost", "-p", std::to_string(port_), "--cafile",
              (folder_ / "owner-root.crt").string(), "-i", client_id, "-u", username, "-P", password, "-q", "1", "-t",
              "acme/" + client_id + "/data", "-m", "x"})
      .exit_code;
}

std::string PasswordBroker::log() const {
  return read_file(folder_ / "broker.log").value_or("");
}

std::string password_account(const Rig& rig, const std::string& credentials, const std::string& profile_spec) {
  std::string yaml = rig.account_and_profile(profile_spec);
  const std::string x509 = "  credentials: x509\n";
  return yaml.replace(yaml.find(x509), x509.size(), credentials);
}

}  // namespace fleet::test
