// Packages on disk: what is unpacked, what is refused, and that nothing half-unpacked stays.
#include "agent/apply/package_store.hpp"

#include <fstream>
#include <functional>
#include <sys/stat.h>

#include <doctest/doctest.h>

#include "agent/apply/download.hpp"
#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "tests/support/tar.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/agent/apply/apply_fixture.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
using test::Tar;

const Package kApp{{"app", "1.0"}, std::string(64, 'a')};

const UnpackProgress kGoOn = [](std::uint64_t, std::uint64_t) { return true; };

// Without the helper: what it does, and nothing between.
Unpack unpack_within(const UnpackLimits& limits) {
  return [limits](const fs::path& file, const fs::path& folder, const UnpackProgress& progress) {
    return unpack(file, folder, limits, progress);
  };
}

struct Store {
  test::TempFolder folder;
  test::TempFolder outside;
  fs::path archive = outside / "app.tar.gz";

  fs::path state() const { return folder.path(); }
  Result<void> put(const UnpackLimits& limits = {}, const std::string& name = "app.tar.gz",
                   const UnpackProgress& progress = kGoOn) {
    return store_package(state(), kApp, archive, name, unpack_within(limits), progress);
  }
  fs::path at(const std::string& path) const { return package_folder(state(), kApp) / path; }
  std::string read(const std::string& path) const { return read_file(at(path)).value_or("-"); }
  mode_t mode(const std::string& path) const {
    struct stat status {};
    REQUIRE(::lstat(at(path).c_str(), &status) == 0);
    return status.st_mode & 07777;
  }
  // Nothing at all: no package, no name or version of one, no temporary folder.
  bool is_empty() const { return !fs::exists(state() / "packages") || fs::is_empty(state() / "packages"); }
};

void refuses(Store& store, ErrorCode code, std::string_view why, const UnpackLimits& limits = {}) {
  const auto stored = store.put(limits);
  REQUIRE_FALSE(stored);
  CHECK_MESSAGE(stored.error().code == code, stored.error().message);
  CHECK_MESSAGE(contains(stored.error().message, why), stored.error().message);
  CHECK(store.is_empty());
  CHECK_FALSE(has_package(store.state(), kApp));
}

TEST_CASE("an archive is unpacked with its folders, files and harmless modes") {
  Store store;
  Tar(store.archive)
      .folder("./")
      .folder("./bin/")
      .file("./bin/run", "#!/bin/sh", 0755)
      .file("config/default.conf", "x=1", 0600)
      .file("Grüße.txt", "hallo", 0666)
      .file("empty", "");
  REQUIRE(store.put());
  CHECK(has_package(store.state(), kApp));
  CHECK(store.at("bin/run") == store.state() / "packages/app/1.0" / kApp.sha256 / "bin/run");
  CHECK(store.read("bin/run") == "#!/bin/sh");
  CHECK(store.read("config/default.conf") == "x=1");
  CHECK(store.read("Grüße.txt") == "hallo");
  CHECK(store.read("empty").empty());
  CHECK(store.mode("bin/run") == 0755);
  CHECK(store.mode("bin") == 0755);
  CHECK(store.mode("config/default.conf") == 0600);
  CHECK(store.mode("Grüße.txt") == 0644);
  REQUIRE(store.put());  // once more
}

TEST_CASE("set-id and sticky bits do not survive") {
  Store store;
  Tar(store.archive).file("su", "x", 06755).file("tmp", "x", 01777);
  REQUIRE(store.put());
  CHECK(store.mode("su") == 0755);
  CHECK(store.mode("tmp") == 0755);
}

TEST_CASE("what could reach outside of the package is refused as a whole") {
  Store store;
  const auto check = [&](const std::function<void(Tar&)>& evil, std::string_view why) {
    Tar tar(store.archive);
    tar.file("good", "x");
    evil(tar);
    tar.close();
    refuses(store, ErrorCode::kMalformed, why);
  };
  SUBCASE("an absolute path") {
    check([](Tar& tar) { tar.file("/etc/cron.d/evil", "x"); }, "absolute path");
  }
  SUBCASE("a path upwards") {
    check([](Tar& tar) { tar.file("../evil", "x"); }, "'..'");
  }
  SUBCASE("a path upwards in its middle") {
    check([](Tar& tar) { tar.file("a/b/../../../evil", "x"); }, "'..'");
  }
  SUBCASE("a folder upwards") {
    check([](Tar& tar) { tar.folder(".."); }, "'..'");
  }
  SUBCASE("a symbolic link") {
    check([](Tar& tar) { tar.symlink("link", "/etc"); }, "symbolic link");
  }
  SUBCASE("a symbolic link and a file through it") {
    check([](Tar& tar) { tar.symlink("link", "/tmp").file("link/evil", "x"); }, "symbolic link");
  }
  SUBCASE("a hard link") {
    check([](Tar& tar) { tar.hardlink("link", "/etc/shadow"); }, "is a link");
  }
  SUBCASE("a device") {
    check([](Tar& tar) { tar.device("null"); }, "device");
  }
  SUBCASE("a pipe") {
    check([](Tar& tar) { tar.pipe("fifo"); }, "pipe");
  }
  SUBCASE("a line break in a name") {
    check([](Tar& tar) { tar.file("a\nb", "x"); }, "control characters");
  }
  CHECK_FALSE(fs::exists(store.state() / "evil"));
  CHECK_FALSE(fs::exists(store.state().parent_path() / "evil"));
}

TEST_CASE("an archive that contradicts itself is refused as a whole") {
  Store store;
  SUBCASE("a file where a folder should be") {
    Tar(store.archive).file("a", "x").file("a/b", "x");
    refuses(store, ErrorCode::kMalformed, "is a file in this archive, not a folder");
  }
  SUBCASE("a folder where a file should be") {
    Tar(store.archive).file("a/b", "x").file("a", "x");
    refuses(store, ErrorCode::kMalformed, "'a' twice");
  }
  SUBCASE("a file twice") {
    Tar(store.archive).file("a", "x").file("./a", "y");
    refuses(store, ErrorCode::kMalformed, "twice");
  }
}

TEST_CASE("bombs go off within the limits") {
  Store store;
  UnpackLimits limits;
  limits.max_size = 10 * 1024 * 1024;
  limits.max_entries = 100;
  limits.max_depth = 8;
  SUBCASE("a small archive of a large file") {
    Tar(store.archive).zeros("zeros", 64 * 1024 * 1024);
    CHECK(fs::file_size(store.archive) < 200'000);
    refuses(store, ErrorCode::kLimitExceeded, "more than 10MiB (package-max-unpacked)", limits);
  }
  SUBCASE("many files that are too much together") {
    {
      Tar tar(store.archive);
      for (int i = 0; i < 12; ++i) tar.zeros(std::to_string(i), 1024 * 1024);
    }
    refuses(store, ErrorCode::kLimitExceeded, "more than 10MiB (package-max-unpacked)", limits);
  }
  SUBCASE("more files than anybody needs") {
    {
      Tar tar(store.archive);
      for (int i = 0; i <= 100; ++i) tar.file(std::to_string(i), "");
    }
    refuses(store, ErrorCode::kLimitExceeded, "more than 100 files and folders (package-max-entries)", limits);
  }
  SUBCASE("the same folder without end") {
    {
      Tar tar(store.archive);
      for (int i = 0; i <= 100; ++i) tar.folder("a/");
    }
    refuses(store, ErrorCode::kLimitExceeded, "more than 100 files and folders (package-max-entries)", limits);
  }
  SUBCASE("the archive's own root without end") {
    {
      Tar tar(store.archive);
      for (int i = 0; i <= 100; ++i) tar.folder("./");
    }
    refuses(store, ErrorCode::kLimitExceeded, "more than 100 files and folders (package-max-entries)", limits);
  }
  SUBCASE("more folders, none of which is listed") {
    {
      Tar tar(store.archive);
      for (int i = 0; i <= 50; ++i) tar.file(std::to_string(i) + "/x", "");
    }
    refuses(store, ErrorCode::kLimitExceeded, "more than 100 files and folders (package-max-entries)", limits);
  }
  SUBCASE("too deep") {
    Tar(store.archive).file("1/2/3/4/5/6/7/8/9", "");
    refuses(store, ErrorCode::kLimitExceeded, "too deep", limits);
  }
  SUBCASE("up to them it is fine") {
    {
      Tar tar(store.archive);
      tar.zeros("zeros", 10 * 1024 * 1024).file("1/2/3/4/5/6/7/8", "");
      for (int i = 0; i < 91; ++i) tar.file("f" + std::to_string(i), "");
    }
    CHECK(store.put(limits));
  }
}

TEST_CASE("a damaged archive leaves nothing") {
  Store store;
  Bytes bytes;
  SUBCASE("truncated") {
    Tar(store.archive).file("a", random_bytes(300'000)).file("b", "y");
    bytes = *read_file(store.archive);
    bytes.resize(bytes.size() / 2);
  }
  SUBCASE("altered") {
    Tar(store.archive).file("a", std::string(100'000, 'x')).file("b", "y");
    bytes = *read_file(store.archive);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x55);
    bytes[bytes.size() / 2 + 1] = static_cast<char>(bytes[bytes.size() / 2 + 1] ^ 0x55);
  }
  REQUIRE(write_file(store.archive, bytes));
  refuses(store, ErrorCode::kMalformed, "damaged");
}

TEST_CASE("a file that is no archive is kept as it is, unless its name says that it is one") {
  Store store;
  REQUIRE(write_file(store.archive, "firmware"));
  SUBCASE("kept") {
    REQUIRE(store.put({}, "fw.bin"));
    CHECK(store.read("fw.bin") == "firmware");
  }
  SUBCASE("not an archive") {
    refuses(store, ErrorCode::kMalformed, "is not a tar archive in gzip");
  }
}

TEST_CASE("an archive is one by its content, whatever it is called") {
  Store store;
  Tar(store.archive).file("a", "x");
  REQUIRE(store.put({}, "download"));
  CHECK(store.read("a") == "x");
}

TEST_CASE("an unpacking that is cancelled leaves nothing") {
  Store store;
  Tar(store.archive).file("a", "x").zeros("b", 10'000'000);
  int calls = 0;
  const auto stored = store.put({}, "app.tar.gz", [&](std::uint64_t, std::uint64_t) { return ++calls < 4; });
  REQUIRE_FALSE(stored);
  CHECK(stored.error().code == ErrorCode::kUnavailable);
  CHECK(store.is_empty());
}

TEST_CASE("a folder that has its own entry counts once") {
  Store store;
  Tar(store.archive).folder("a/").file("a/x", "x").folder("b/");
  UnpackLimits limits;
  limits.max_entries = 3;
  CHECK(store.put(limits));
}

TEST_CASE("a package that is cancelled when it is all there does not come into its place") {
  Store store;
  std::ofstream(store.archive) << "no archive";
  const auto stored = store.put({}, "tool", [](std::uint64_t done, std::uint64_t total) { return done < total; });
  REQUIRE_FALSE(stored);
  CHECK(stored.error().code == ErrorCode::kUnavailable);
  CHECK(store.is_empty());
}

TEST_CASE("pruning leaves alone what is being unpacked") {
  Store store;
  fs::create_directories(store.state() / "packages/.0123456789ab.tmp/bin/deep");
  REQUIRE(write_file(store.state() / "packages/.0123456789ab.tmp/bin/run", "x"));
  CHECK(retire_packages(store.state(), {}).empty());
  CHECK(fs::exists(store.state() / "packages/.0123456789ab.tmp/bin/run"));
  CHECK(fs::exists(store.state() / "packages/.0123456789ab.tmp/bin/deep"));
}

TEST_CASE("what an unpacking that was killed has left is removed at the next start") {
  Store store;
  Tar(store.archive).file("a", "x");
  REQUIRE(store.put());
  fs::create_directories(store.state() / "packages/.0123456789ab.tmp/bin");
  REQUIRE(remove_half_written(store.state()));
  CHECK_FALSE(fs::exists(store.state() / "packages/.0123456789ab.tmp"));
  CHECK(store.read("a") == "x");
}

TEST_CASE("something else in the place of a package is an error and stays") {
  Store store;
  Tar(store.archive).file("a", "x");
  fs::create_directories(store.state() / "packages");
  REQUIRE(write_file(store.state() / "packages/app", "not a folder"));
  const auto stored = store.put();
  REQUIRE_FALSE(stored);
  CHECK(contains(stored.error().message, "packages/app"));
  CHECK(read_file(store.state() / "packages/app").value_or("") == "not a folder");
}

TEST_CASE("the same version with another content stands beside the first, and pruning knows them apart") {
  Store store;
  Tar(store.archive).file("a", "first");
  REQUIRE(store.put());
  Tar(store.archive).file("a", "second");
  const Package second{kApp.id, std::string(64, 'b')};
  REQUIRE(store_package(store.state(), second, store.archive, "app.tar.gz", unpack_within({}), kGoOn));
  CHECK(store.read("a") == "first");
  CHECK(read_file(package_folder(store.state(), second) / "a").value_or("") == "second");

  fs::create_directories(store.state() / "downloads");
  REQUIRE(write_file(store.state() / "downloads/part", "x"));
  CHECK(retire_packages(store.state(), {second}).size() == 2);
  CHECK_FALSE(has_package(store.state(), kApp));
  CHECK(has_package(store.state(), second));
  CHECK_FALSE(fs::exists(store.state() / "downloads"));
  CHECK(retire_packages(store.state(), {}).size() == 1);
  REQUIRE(remove_half_written(store.state()));
  CHECK(store.is_empty());
}

TEST_CASE("the name of a kept file is the last one in its uri if that is harmless") {
  CHECK(file_name_of("https://h/p/fw.bin?sig=a/b#c", "app") == "fw.bin");
  CHECK(file_name_of("https://h/p/", "app") == "app");
  CHECK(file_name_of("https://h/p/..", "app") == "app");
  CHECK(file_name_of("https://h/p/.bashrc", "app") == "app");
  CHECK(file_name_of("https://h/p/a%2fb", "app") == "app");
}

// --- packages in generations

struct Device {
  test::TempFolder folder;
  Pki pki;
  crypto::PrivateKey key = *crypto::PrivateKey::generate();

  Package add(const std::string& name, const std::string& version, char digest) {
    const Package package{{name, version}, std::string(64, digest)};
    test::TempFolder outside;
    Tar(outside / "a.tar.gz").file("version", version + digest);
    REQUIRE(store_package(folder.path(), package, outside / "a.tar.gz", "a.tar.gz", unpack_within({}), kGoOn));
    return package;
  }
  Result<void> install(std::uint64_t number, std::vector<Package> packages) {
    TRY(try_out(number, std::move(packages)));
    TRY(confirm_generation(folder.path()));
    for (const fs::path& retired : retire_generations(folder.path())) TRY(fleet::remove_all(retired));
    return {};
  }
  Result<void> try_out(std::uint64_t number, std::vector<Package> packages) {
    Staged staged = pki.staged(key, fmt::format("mqtts://owner-{}.example.com", number));
    staged.packages = std::move(packages);
    return install_generation(folder.path(), number, staged, key);
  }
  std::string version(const std::string& name_and_version) const {
    return read_file(folder.path() / "current/packages" / name_and_version / "version").value_or("-");
  }
  std::string host() const {
    const auto connection = load_owner_connection(folder.path());
    return connection ? connection->broker_url.host : connection.error().message;
  }
};

TEST_CASE("a generation holds its packages, and going back brings all of the one before") {
  Device device;
  const Package old = device.add("app", "1.0", 'a');
  const Package tool = device.add("tool", "7", 'b');
  REQUIRE(device.install(1, {old, tool}));
  CHECK(device.version("app/1.0") == "1.0a");
  CHECK(device.version("tool/7") == "7b");

  const Package same_version = device.add("app", "1.0", 'c');
  device.key = *crypto::PrivateKey::generate();
  REQUIRE(device.install(2, {same_version}));
  CHECK(device.version("app/1.0") == "1.0c");
  CHECK(device.version("tool/7") == "-");
  auto record = read_generation_record(device.folder.path());
  REQUIRE(record);
  CHECK(record->number == 2);
  CHECK(record->previous == 1);
  CHECK(record->packages == std::vector<Package>{same_version});
  CHECK(record->components.size() == 2);

  const auto back = roll_back_generation(device.folder.path());
  REQUIRE(back);
  CHECK(*back == 1);
  CHECK(device.version("app/1.0") == "1.0a");
  CHECK(device.version("tool/7") == "7b");
  CHECK(device.host() == "owner-1.example.com");
  CHECK(read_generation_record(device.folder.path())->packages.size() == 2);

  const auto further = roll_back_generation(device.folder.path());
  REQUIRE_FALSE(further);
  CHECK(further.error().code == ErrorCode::kNotFound);
}

TEST_CASE("versions that neither the generation in force nor the one before it has are removed") {
  Device device;
  const Package first = device.add("app", "1", 'a');
  const Package second = device.add("app", "2", 'b');
  const Package third = device.add("app", "3", 'c');
  REQUIRE(device.install(1, {first}));
  CHECK_FALSE(has_package(device.folder.path(), second));  // no generation had it yet
  device.add("app", "2", 'b');
  REQUIRE(device.install(2, {second}));
  device.add("app", "3", 'c');
  REQUIRE(device.install(3, {third}));
  CHECK_FALSE(has_package(device.folder.path(), first));
  CHECK(has_package(device.folder.path(), second));
  CHECK(has_package(device.folder.path(), third));
}

TEST_CASE("a package may come again while the one before it is still being removed") {
  Device device;
  const Package old = device.add("app", "1", 'a');
  REQUIRE(device.try_out(1, {}));
  REQUIRE(confirm_generation(device.folder.path()));
  REQUIRE(write_file(device.folder / "downloads", "on its way"));
  const auto retired = retire_generations(device.folder.path());
  CHECK(retired.size() == 2);
  CHECK_FALSE(has_package(device.folder.path(), old));
  CHECK_FALSE(fs::exists(device.folder / "packages/app"));
  CHECK_FALSE(fs::exists(device.folder / "downloads"));
  device.add("app", "1", 'a');
  for (const fs::path& path : retired) REQUIRE(fleet::remove_all(path));
  REQUIRE(device.install(2, {old}));
  CHECK(device.version("app/1") == "1a");
}

TEST_CASE("after going back the next generation follows the one that was gone back to") {
  Device device;
  REQUIRE(device.install(1, {device.add("app", "1", 'a')}));
  REQUIRE(device.install(2, {device.add("app", "2", 'b')}));
  REQUIRE(roll_back_generation(device.folder.path()));
  REQUIRE(device.install(2, {device.add("app", "3", 'c')}));
  CHECK(device.version("app/3") == "3c");
  REQUIRE(roll_back_generation(device.folder.path()));
  CHECK(device.version("app/1") == "1a");
}

TEST_CASE("a generation on trial is taken back with all it brought") {
  Device device;
  const Package old = device.add("app", "1", 'a');
  REQUIRE(device.install(1, {old}));
  REQUIRE(device.try_out(2, {device.add("app", "2", 'b')}));
  CHECK(device.version("app/2") == "2b");
  SUBCASE("at once") {
    const auto reverted = revert_generation(device.folder.path());
    REQUIRE(reverted);
    CHECK(*reverted == 1);
  }
  SUBCASE("by the next start, if the agent was killed") {
    const auto folder = StateFolder::open(device.folder.path());
    REQUIRE(folder);
    CHECK(folder->reverted() == 1);
  }
  CHECK(current_generation(device.folder.path()) == 1);
  CHECK(device.version("app/1") == "1a");
  CHECK_FALSE(fs::exists(device.folder / "generations/2"));
  CHECK_FALSE(fs::is_symlink(device.folder / "trial"));
  CHECK(*revert_generation(device.folder.path()) == std::nullopt);
}

TEST_CASE("the first generation on trial is taken back to none") {
  Device device;
  REQUIRE(device.try_out(1, {}));
  CHECK(*revert_generation(device.folder.path()) == 0);
  CHECK_FALSE(current_generation(device.folder.path()));
  CHECK_FALSE(fs::is_symlink(device.folder / "current"));
}

TEST_CASE("a final generation is not taken back by a start") {
  Device device;
  REQUIRE(device.install(1, {}));
  const auto folder = StateFolder::open(device.folder.path());
  REQUIRE(folder);
  CHECK_FALSE(folder->reverted());
  CHECK(current_generation(device.folder.path()) == 1);
}

TEST_CASE("a generation whose package has gone is not installed") {
  Device device;
  REQUIRE(device.install(1, {}));
  const auto installed = device.try_out(2, {kApp});
  REQUIRE_FALSE(installed);
  CHECK(contains(installed.error().message, "package app 1.0"));
  CHECK(current_generation(device.folder.path()) == 1);
}

TEST_CASE("the digest of a file is that of its bytes") {
  test::TempFolder folder;
  REQUIRE(write_file(folder / "f", "abc"));
  CHECK(*sha256_of_file(folder / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace fleet::agent
