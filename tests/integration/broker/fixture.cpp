#include "tests/integration/broker/fixture.hpp"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <sqlite3.h>

#include "core/base/file.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "provisioner/admission/admission.hpp"

namespace fleet::test {
namespace {

using crypto::CertificateProfile;

crypto::CertificateRequest request(CertificateProfile profile, const std::string& name) {
  return {profile, name, {}, wall_now() - std::chrono::hours(1), wall_now() + std::chrono::hours(24)};
}

void make_admission_database(const provisioner::ManagedBrokerSettings& settings) {
  REQUIRE(write_file(settings.admission_db(), ""));
  REQUIRE(provisioner::share_with_broker(settings.admission_db(), settings));
  sqlite3* database = nullptr;
  REQUIRE(sqlite3_open(settings.admission_db().c_str(), &database) == SQLITE_OK);
  int keep = 1;
  sqlite3_file_control(database, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
  REQUIRE(sqlite3_exec(database, "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr) == SQLITE_OK);
  REQUIRE(sqlite3_exec(database, std::string(provisioner::kAdmissionSchema).c_str(), nullptr, nullptr, nullptr) ==
          SQLITE_OK);
  sqlite3_close(database);
}

}  // namespace

bool running_as_root() {
  return ::geteuid() == 0;
}

std::vector<pid_t> brokers_of(const std::filesystem::path& configuration) {
  std::vector<pid_t> pids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto line = read_file(entry.path() / "cmdline");
    if (line && line->find(configuration.string()) != std::string::npos) pids.push_back(std::stoi(name));
  }
  return pids;
}

std::string user_of(pid_t pid) {
  struct stat info {};
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &info) != 0) return "nobody: it is gone";
  const passwd* const entry = ::getpwuid(info.st_uid);
  return entry != nullptr ? entry->pw_name : "";
}

DataFolder::DataFolder() {
#ifdef __SANITIZE_ADDRESS__
  // a sanitized plugin needs the runtime to be in the broker before it
  ::setenv("LD_PRELOAD", "libasan.so.8 libubsan.so.1", 1);
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
#endif
  const auto root_key = crypto::PrivateKey::generate().value();
  const auto root = crypto::issue_root(request(CertificateProfile::kRootCa, "root"), root_key).value();
  const auto key = crypto::PrivateKey::generate().value();
  auto server = request(CertificateProfile::kServer, "localhost");
  server.san_names = {"localhost", "127.0.0.1"};
  const auto leaf = crypto::issue(server, key.public_key(), {root, root_key}).value();
  REQUIRE(write_file(roots(), root.to_pem()));
  settings.folder = path() / "broker";
  settings.listen = {"127.0.0.1", free_port()};
  settings.certificate_chain = leaf.to_pem();
  settings.private_key = key.to_pem();
  settings.account = "acme";
  settings.provisioner_id = "prov";
  settings.plugin = FLEET_PLUGIN;
  REQUIRE(make_folder(settings.folder));
  REQUIRE(write_file(settings.verifier_key_file(), random_bytes(32)));
  make_admission_database(settings);
}

int DataFolder::knock() const {
  return run({"mosquitto_pub", "-h", "localhost", "-p", std::to_string(settings.listen.port), "--cafile", roots(), "-i",
              "gw-1", "-u", "u", "-P", "p", "-t", "x", "-m", "x", "-q", "1"})
      .exit_code;
}

RunningBroker::RunningBroker(provisioner::ManagedBrokerSettings settings)
    : broker_(std::make_unique<provisioner::ManagedBroker>(
          io_, std::move(settings),
          provisioner::ManagedBrokerHandlers{[this] { ++ready; }, [this](Error error) { down.push_back(error); }})) {}

bool RunningBroker::until(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    io_.restart();
    io_.run_for(10ms);
  }
  return true;
}

bool RunningBroker::stop() {
  bool stopped = false;
  broker_->stop([&] { stopped = true; });
  return until([&] { return stopped; });
}

}  // namespace fleet::test
