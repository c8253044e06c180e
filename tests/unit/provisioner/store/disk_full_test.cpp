// A full disk: typed errors, nothing half stored, and work goes on once there is room.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

// While it lives no file of this process can grow beyond `bytes`: a full disk that needs no privileges.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

// A real small file system, if this user may mount one.
class TinyDisk {
 public:
  explicit TinyDisk(const std::filesystem::path& where) : where_(where) {
    std::filesystem::create_directories(where);
    mounted_ = ::geteuid() == 0 &&
               test::run({"mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", where.string()}).exit_code == 0;
  }
  ~TinyDisk() {
    if (mounted_) test::run({"umount", "-l", where_.string()});
  }
  TinyDisk(const TinyDisk&) = delete;
  TinyDisk& operator=(const TinyDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  std::filesystem::path where_;
  bool mounted_ = false;
};

ProvisionRequest large_request(const std::string& name) {
  ProvisionRequest request = sample_request(name);
  request.last_error = std::string(200'000, 'x');
  return request;
}

TEST_CASE("on a full disk the work fails as such, nothing of it is stored, and the store works again later") {
  StoreFixture fixture;
  ProvisionRequest one = fixture.insert(sample_request("one"));
  const auto put_profile = [](Transaction& tx, const std::string& account) -> Result<void> {
    Profile profile;
    profile.name = "gateway";
    profile.account = account;
    TRY(tx.put_profile(profile));
    TRY(tx.find_profile("gateway"));  // kept in memory from now on
    return {};
  };
  const auto account_of_profile = [&] {
    std::string account;
    fixture.must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(const auto profile, tx.find_profile("gateway"));
      account = profile ? profile->account : "no profile";
      return {};
    });
    return account;
  };
  fixture.must([&](Transaction& tx) { return put_profile(tx, "acme"); });
  {
    const FileSizeLimit limit(150'000);
    CHECK(code(fixture.run([&](Transaction& tx) -> Result<void> {
            TRY(put_profile(tx, "nobody"));
            ProvisionRequest large = large_request("large");
            return tx.insert_request(large);
          })) == ErrorCode::kNoSpace);
    CHECK(account_of_profile() == "acme");
    CHECK(code(fixture.run([](Transaction& tx) -> Result<void> {
            ProvisionRequest small = sample_request("small");
            TRY(tx.insert_request(small));
            ProvisionRequest large = large_request("large");
            return tx.insert_request(large);
          })) == ErrorCode::kNoSpace);
    // Closes a device and does not fit: the closing must be taken back.
    ProvisionRequest disabled = one;
    disabled.enabled = false;
    disabled.last_error = std::string(200'000, 'y');
    CHECK(code(fixture.update(disabled)) == ErrorCode::kNoSpace);
    CHECK_FALSE(fixture.find("small"));
    CHECK(fixture.find("one")->enabled);
  }
  fixture.insert(large_request("large"));
  CHECK(fixture.admission("cid-large"));
  CHECK_FALSE(fixture.admission("cid-small"));
  CHECK(fixture.admission("cid-one") == admission_of(*fixture.find("one")));
  CHECK(fixture.projection_generation() == fixture.store_generation());
  fixture.open();
  CHECK(fixture.find("large"));
}

TEST_CASE("a file system that fills up and is emptied again leaves store and projection in agreement") {
  StoreFixture fixture;
  fixture.close();
  const TinyDisk disk(fixture.folder / "disk");
  if (!disk.mounted()) {
    MESSAGE("skipped: cannot mount a file system here");
    return;
  }
  StoreSettings settings = fixture.settings();
  settings.database = fixture.folder / "disk/provisioner.db";
  settings.admission = fixture.folder / "disk/admission.db";
  fixture.open(settings);
  int stored = 0;
  Result<void> last;
  for (int i = 0; i < 2000 && last; ++i) {
    ProvisionRequest request = sample_request("r" + std::to_string(i));
    last = fixture.run([&](Transaction& tx) { return tx.insert_request(request); });
    if (last) ++stored;
  }
  CHECK(code(last) == ErrorCode::kNoSpace);
  CHECK(stored > 10);
  REQUIRE(test::run({"mount", "-o", "remount,size=8m", (fixture.folder / "disk").string()}).exit_code == 0);
  fixture.insert(sample_request("after"));
  ++stored;
  CHECK(test::eventually([&] {
    return fixture.number("disk/admission.db", "SELECT count(*) FROM device") == stored &&
           fixture.number("disk/admission.db", "SELECT value FROM meta WHERE key = 'generation'") ==
               fixture.number("disk/provisioner.db", "SELECT value FROM counter");
  }));
  CHECK(fixture.number("disk/provisioner.db", "SELECT count(*) FROM request") == stored);
  fixture.close();
}

}  // namespace
}  // namespace fleet::provisioner
