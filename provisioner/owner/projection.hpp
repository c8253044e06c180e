// The password projection of an owner's broker on this host (provisioner/admission/owner_passwords.hpp): written here, read
// by our plugin there. It holds verifiers only.
#pragma once

#include <filesystem>

#include "core/base/result.hpp"
#include "provisioner/owner/connector.hpp"

namespace fleet::provisioner {

// Makes database and key (both 0640, with the group of their folder) if they are not there. Durable when it returns.
// kAlreadyExists if another device has that username; otherwise the errors of the file, which name it.
Result<void> write_owner_login(const std::filesystem::path& database, const OwnerLogin& login);

}  // namespace fleet::provisioner
