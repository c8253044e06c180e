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

// The device's login with that username is in the database no more, durably; Ok also if it was not, or if there is no
// database. One that the device has with another username stays.
Result<void> remove_owner_login(const std::filesystem::path& database, const std::string& client_id,
                                const std::string& username);

}  // namespace fleet::provisioner
