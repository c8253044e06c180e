// Where generated secrets go: a file that only its owner reads, made before anything is applied. Private to
// provisioner/cli.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/fd.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"

namespace fleet::provisioner {

struct SecretRow {
  std::string name, client_id, username;
  Secret password, activation_key;  // empty: none was generated
};

// RFC 4180, lines end with "\n".
inline constexpr std::string_view kSecretsHeader = "name,clientId,username,password,activationKey\n";
Secret secrets_rows(const std::vector<SecretRow>& rows);
// The same below the header.
Secret secrets_csv(const std::vector<SecretRow>& rows);

// A new file of mode 0600. Unless it is kept, it is removed again when the object goes.
class SecretsFile {
 public:
  // kAlreadyExists rather than to write over somebody's secrets.
  static Result<SecretsFile> create(const std::filesystem::path& path);
  SecretsFile(SecretsFile&& other) noexcept;
  SecretsFile& operator=(SecretsFile&&) = delete;
  ~SecretsFile();

  // Writes, syncs, and keeps the file, whatever happens: half of the secrets are better than none.
  Result<void> keep(std::string_view content);

 private:
  SecretsFile(Fd fd, std::filesystem::path path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::filesystem::path path_;  // empty: kept, or moved from
};

}  // namespace fleet::provisioner
