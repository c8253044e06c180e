#include "provisioner/owner/projection.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "provisioner/admission/owner_passwords.hpp"
#include "provisioner/store/sqlite.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kKeySize = 32;
constexpr mode_t kShared = 0640;

// The broker's user reads by the group of the folder that the operator has made for it.
Result<void> share(const fs::path& file) {
  struct stat folder {};
  struct stat found {};
  if (::stat(file.parent_path().c_str(), &folder) != 0) return fail(errno_error(errno, file.parent_path().string()));
  if (::stat(file.c_str(), &found) != 0) return fail(errno_error(errno, file.string()));
  if (found.st_gid != folder.st_gid && ::chown(file.c_str(), static_cast<uid_t>(-1), folder.st_gid) != 0) {
    return fail(errno_error(errno, file.string()));
  }
  if ((found.st_mode & 07777) != kShared && ::chmod(file.c_str(), kShared) != 0) return fail(errno_error(errno, file.string()));
  return {};
}

Result<Secret> load_or_make_key(const fs::path& file) {
  auto key = read_file(file, 1024);
  if (!key && key.error().code == ErrorCode::kNotFound) {
    key = random_bytes(kKeySize);
    TRY(create_file(file, *key, kShared));
  }
  if (!key) return fail(std::move(key).error());
  if (key->size() != kKeySize) {
    return fail(ErrorCode::kCorrupt, "{}: must hold {} bytes, has {}; restore it from a backup: without it no password fits",
                file.string(), kKeySize, key->size());
  }
  // each time, not only when it is new: an earlier call may have ended between making and sharing it
  TRY(share(file));
  return Secret(std::move(*key));
}

// One at a time: two writers of one file would only wait for each other.
std::mutex& writing() {
  static std::mutex mutex;
  return mutex;
}

Result<sqlite::Database> open_shared(const fs::path& path) {
  sqlite::Database::Options options;
  options.mode = kShared;
  options.persist_wal = true;
  TRY_ASSIGN(sqlite::Database database, sqlite::Database::open(path, options));
  TRY(database.execute(kOwnerPasswordsSchema));
  for (const char* const suffix : {"", "-wal", "-shm"}) TRY(share(path.string() + suffix));
  return database;
}

}  // namespace

Result<void> write_owner_login(const fs::path& path, const OwnerLogin& login) {
  const std::lock_guard lock(writing());
  TRY_ASSIGN(const Secret key, load_or_make_key(owner_password_key_file(path.string())));
  TRY_ASSIGN(sqlite::Database database, open_shared(path));
  TRY_ASSIGN(sqlite::Statement change,
             database.prepare("INSERT INTO device (client_id, username, verifier) VALUES (?1, ?2, ?3) ON CONFLICT "
                              "(client_id) DO UPDATE SET username = ?2, verifier = ?3"));
  change.bind(1, login.client_id).bind(2, login.username);
  change.bind_blob(3, crypto::secret_verifier(key.reveal(), kOwnerPasswordPurpose, login.username, login.password.reveal()));
  auto written = change.run();
  if (!written && written.error().code == ErrorCode::kAlreadyExists) {
    return fail(ErrorCode::kAlreadyExists,
                "{}: another device has the username '{}': give each device one of its own, for example with "
                "${{clientId}}", path.string(), login.username);
  }
  return written;
}

Result<void> remove_owner_login(const fs::path& path, const std::string& client_id, const std::string& username) {
  const std::lock_guard lock(writing());
  std::error_code error;
  if (!fs::exists(path, error) && !error) return {};
  TRY_ASSIGN(sqlite::Database database, open_shared(path));
  TRY_ASSIGN(sqlite::Statement change, database.prepare("DELETE FROM device WHERE client_id = ?1 AND username = ?2"));
  change.bind(1, client_id).bind(2, username);
  return change.run();
}

}  // namespace fleet::provisioner
