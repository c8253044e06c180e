// The password projection: the small SQLite file through which the provisioner tells the plugin in its owner mode which
// devices may connect to the owner's broker with which password. It holds no passwords.
#pragma once

#include <string>
#include <string_view>

namespace fleet::provisioner {

// One row a device: whoever may connect has `verifier` = crypto::secret_verifier(key, kOwnerPasswordPurpose, username,
// password), and with STRICT credentials also the client id.
inline constexpr std::string_view kOwnerPasswordsSchema = R"sql(
CREATE TABLE IF NOT EXISTS device (
  client_id TEXT PRIMARY KEY,
  username  TEXT NOT NULL UNIQUE,
  verifier  BLOB NOT NULL CHECK (length(verifier) = 32)
) WITHOUT ROWID;
)sql";

inline constexpr std::string_view kOwnerPasswordPurpose = "owner-password";

// The 32 bytes of the key lie beside the database.
inline std::string owner_password_key_file(std::string_view database) {
  return std::string(database) + ".key";
}

}  // namespace fleet::provisioner
