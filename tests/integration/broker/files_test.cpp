#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/integration/broker/fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using namespace fleet::provisioner;

namespace {

struct stat stat_of(const std::filesystem::path& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info;
}

std::string mode_of(const std::filesystem::path& path) {
  return fmt::format("{:o}", stat_of(path).st_mode & 07777);
}

}  // namespace

TEST_CASE("the broker's folder holds what it needs, readable for it and nobody else") {
  DataFolder data;
  REQUIRE(write_broker_files(data.settings));
  REQUIRE(write_broker_files(data.settings));  // again, as at each start
  const bool other = running_as_root();
  for (const char* name :
       {"mosquitto.conf", "chain.pem", "key.pem", "provisioner_auth.so", "verifier.key", "admission.db"}) {
    CAPTURE(name);
    CHECK(mode_of(data.settings.folder / name) == (other ? "640" : "600"));
  }
  CHECK(mode_of(data.settings.folder) == (other ? "750" : "700"));
  CHECK(mode_of(data.settings.folder / "run") == "700");
  if (other) {
    const passwd* const user = ::getpwnam("mosquitto");
    REQUIRE(user != nullptr);
    CHECK(stat_of(data.settings.folder / "key.pem").st_uid == 0);
    CHECK(stat_of(data.settings.folder / "key.pem").st_gid == user->pw_gid);
    CHECK(stat_of(data.settings.folder / "run").st_uid == user->pw_uid);
    // SQLite made these as it found the database
    CHECK(stat_of(data.settings.folder / "admission.db-wal").st_gid == user->pw_gid);
    CHECK(mode_of(data.settings.folder / "admission.db-shm") == "640");
  }
}

TEST_CASE("the configuration has the limits, and a plain listener only when asked for") {
  DataFolder data;
  REQUIRE(write_broker_files(data.settings));
  std::string conf = read_file(data.settings.configuration_file()).value();
  for (const char* line : {"max_packet_size 1048576\n", "max_queued_messages 0\n", "max_inflight_messages 0\n",
                           "set_tcp_nodelay true\n", "allow_anonymous false\n", "per_listener_settings false\n",
                           "user mosquitto\n", "tls_version tlsv1.2\n", "persistence true\n"}) {
    CAPTURE(line);
    CHECK(conf.find(line) != std::string::npos);
  }
  CHECK(conf.find("listener 1883") == std::string::npos);
  data.settings.plain_listen = BrokerListener{"127.0.0.1", 1883};
  REQUIRE(write_broker_files(data.settings));
  conf = read_file(data.settings.configuration_file()).value();
  CHECK(conf.find("\nlistener 1883 127.0.0.1\n") != std::string::npos);
}

TEST_CASE("a Mosquitto under another supervisor gets what is ours, and nothing that its own configuration has") {
  DataFolder data;
  CHECK(write_unmanaged_broker_files(data.settings).value());
  CHECK_FALSE(std::filesystem::exists(data.settings.configuration_file()));
  CHECK(std::filesystem::exists(data.settings.folder / "provisioner_auth.so"));
  CHECK(mode_of(data.settings.folder / "run") == "700");
  const std::string fragment = broker_fragment(data.settings);
  for (const std::string& line :
       {std::string("plugin_opt_mode provision\n"), std::string("max_packet_size 1048576\n"),
        std::string("max_queued_messages 0\n"), std::string("max_inflight_messages 0\n"), std::string("set_tcp_nodelay true\n"),
        fmt::format("\nlistener {} 127.0.0.1\n", data.settings.listen.port), fmt::format("\nlistener 0 {}\n", data.settings.socket().string())}) {
    CHECK_MESSAGE(fragment.find(line) != std::string::npos, line);
  }
  for (const char* theirs : {"persistence_location", "log_dest", "log_type", "pid_file", "include_dir"}) {
    CHECK_MESSAGE(fragment.find(std::string("\n") + theirs) == std::string::npos, theirs);
  }
}

TEST_CASE("a broker that runs must be started again only if its certificate or plugin is another one") {
  DataFolder data;
  REQUIRE(write_unmanaged_broker_files(data.settings));
  CHECK_FALSE(write_unmanaged_broker_files(data.settings).value());
  data.settings.certificate_chain += "\n";
  CHECK(write_unmanaged_broker_files(data.settings).value());
  CHECK_FALSE(write_unmanaged_broker_files(data.settings).value());
}

TEST_CASE("a folder that cannot work is refused with advice") {
  DataFolder data;
  auto settings = data.settings;
  settings.folder = data.path() / std::string(100, 'x');
  auto written = write_broker_files(settings);
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::kInvalidArgument);
  CHECK(written.error().message.find("choose a data folder with a shorter path") != std::string::npos);
  settings.folder = data.path() / "white space";
  CHECK(write_broker_files(settings).error().code == ErrorCode::kInvalidArgument);
  settings.folder = "relative";
  CHECK(write_broker_files(settings).error().code == ErrorCode::kInvalidArgument);
  settings = data.settings;
  settings.plugin = data.path() / "none.so";
  written = write_broker_files(settings);
  CHECK(written.error().code == ErrorCode::kNotFound);
  CHECK(written.error().message.find("none.so") != std::string::npos);
  settings = data.settings;
  settings.mosquitto = "no-such-mosquitto";
  CHECK(find_mosquitto(settings).error().code == ErrorCode::kNotFound);
  CHECK(find_mosquitto(data.settings).value().is_absolute());
}

TEST_CASE("a data folder that the broker's user cannot pass through is refused" * doctest::skip(!running_as_root())) {
  DataFolder data;
  REQUIRE(::chmod(data.path().c_str(), 0700) == 0);
  const auto written = write_broker_files(data.settings);
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::kPermissionDenied);
  CHECK(written.error().message.find("chmod a+x " + data.path().string()) != std::string::npos);
  auto settings = data.settings;
  settings.user = "no-such-user";
  CHECK(write_broker_files(settings).error().code == ErrorCode::kNotFound);
}
