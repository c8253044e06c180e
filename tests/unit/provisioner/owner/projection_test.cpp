// The password projection: written by the provisioner, read as the plugin reads it.
#include "provisioner/owner/projection.hpp"

#include <sys/stat.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "provisioner/admission/owner_passwords.hpp"
#include "provisioner/plugin/admission_reader.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;

namespace {

OwnerLogin login(const std::string& client_id, const std::string& username, const std::string& password) {
  return {"acme", client_id, username, Secret(password), true};
}

// As the plugin judges it.
bool admits(const std::filesystem::path& database, std::string_view lookup, const std::string& key,
            const std::string& username, const std::string& password) {
  plugin::AdmissionReader reader(database.string(), lookup);
  const auto row = reader.find(key, std::chrono::steady_clock::now() + std::chrono::hours(1));
  REQUIRE_MESSAGE(row, (row ? "" : row.error().message));
  const Bytes verifier_key = read_file(owner_password_key_file(database.string())).value();
  const Bytes verifier = crypto::secret_verifier(verifier_key, kOwnerPasswordPurpose, username, password);
  return !plugin::refusal(*row ? &**row : nullptr, username, verifier, to_unix_millis(wall_now()));
}

mode_t mode_of(const std::filesystem::path& file) {
  struct stat found {};
  return ::stat(file.c_str(), &found) == 0 ? found.st_mode & 0777 : 0;
}

}  // namespace

TEST_CASE("What is handed over is admitted by client id and by username, and nothing else is") {
  const fleet::test::TempFolder folder;
  const auto database = folder / "owner.db";
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  REQUIRE(write_owner_login(database, login("GW2", "two", "second")));
  CHECK(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "first"));
  CHECK(admits(database, plugin::kOwnerLookupByUsername, "one", "one", "first"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByClientId, "GW2", "one", "first"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "second"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByClientId, "GW3", "one", "first"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByUsername, "three", "three", ""));
}

TEST_CASE("Handing over again changes nothing, and new credentials replace the old ones") {
  const fleet::test::TempFolder folder;
  const auto database = folder / "owner.db";
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  CHECK(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "first"));
  REQUIRE(write_owner_login(database, login("GW1", "uno", "new")));
  CHECK(admits(database, plugin::kOwnerLookupByClientId, "GW1", "uno", "new"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "first"));
}

TEST_CASE("A username is one device's") {
  const fleet::test::TempFolder folder;
  const auto database = folder / "owner.db";
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  const auto clash = write_owner_login(database, login("GW2", "one", "second"));
  REQUIRE_FALSE(clash);
  CHECK(clash.error().code == ErrorCode::kAlreadyExists);
  CHECK(clash.error().message.find("another device has the username 'one'") != std::string::npos);
  CHECK(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "first"));
}

TEST_CASE("A login that is taken back opens nothing, and its username is free for another device") {
  const fleet::test::TempFolder folder;
  const auto database = folder / "owner.db";
  REQUIRE(remove_owner_login(database, "GW1", "one"));
  CHECK_FALSE(std::filesystem::exists(database));
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  REQUIRE(write_owner_login(database, login("GW3", "three", "third")));
  REQUIRE(remove_owner_login(database, "GW1", "an earlier username"));
  CHECK(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "first"));
  REQUIRE(remove_owner_login(database, "GW1", "one"));
  REQUIRE(remove_owner_login(database, "GW1", "one"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByClientId, "GW1", "one", "first"));
  CHECK_FALSE(admits(database, plugin::kOwnerLookupByUsername, "one", "one", "first"));
  CHECK(admits(database, plugin::kOwnerLookupByClientId, "GW3", "three", "third"));
  REQUIRE(write_owner_login(database, login("GW2", "one", "second")));
  CHECK(admits(database, plugin::kOwnerLookupByUsername, "one", "one", "second"));
}

TEST_CASE("The broker's group reads, nobody else, and no password is in the file") {
  const fleet::test::TempFolder folder;
  const auto database = folder / "owner.db";
  REQUIRE(write_owner_login(database, login("GW1", "one", "Correct-Horse-Battery-Staple")));
  for (const char* const name : {"owner.db", "owner.db-wal", "owner.db-shm", "owner.db.key"}) {
    CAPTURE(name);
    CHECK(mode_of(folder / name) == 0640);
    CHECK(read_file(folder / name)->find("Correct-Horse") == std::string::npos);
  }
}

TEST_CASE("A key that its broker could not read is shared by the next handing over") {
  const fleet::test::TempFolder folder;
  const auto database = folder / "owner.db";
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  REQUIRE(::chmod((folder / "owner.db.key").c_str(), 0600) == 0);
  REQUIRE(write_owner_login(database, login("GW1", "one", "first")));
  CHECK(mode_of(folder / "owner.db.key") == 0640);
}

TEST_CASE("A folder that is not there, and a file that is none, are errors that name it") {
  const fleet::test::TempFolder folder;
  const auto missing = write_owner_login(folder / "no" / "owner.db", login("GW1", "one", "first"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message.find("owner.db") != std::string::npos);
  REQUIRE(write_file(folder / "owner.db", std::string(5000, 'x')));
  const auto broken = write_owner_login(folder / "owner.db", login("GW1", "one", "first"));
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code == ErrorCode::kCorrupt);
}
