// The files of a PKI folder and how one certificate and its key lie in it. Private to provisioner/ca.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"

namespace fleet::provisioner {

inline constexpr std::string_view kRoot = "root";
inline constexpr std::string_view kPlatformCa = "platform-ca";
inline constexpr std::string_view kDeviceCa = "device-ca";
inline constexpr std::string_view kBrokerCa = "broker-ca";
inline constexpr std::string_view kSigning = "signing";
inline constexpr std::string_view kBroker = "broker";

inline constexpr mode_t kCertificateFile = 0644;

std::filesystem::path certificate_path(const std::filesystem::path& folder, std::string_view name);
std::filesystem::path key_path(const std::filesystem::path& folder, std::string_view name);
// Where a renewal puts the new key until the new certificate is in place.
std::filesystem::path new_key_path(const std::filesystem::path& folder, std::string_view name);

// The certificates of NAME.crt. kNotFound, kMalformed.
Result<std::vector<crypto::Certificate>> read_chain(const std::filesystem::path& folder, std::string_view name);

// A key file; kPermissionDenied if group or others have any right to it.
Result<crypto::PrivateKey> read_key(const std::filesystem::path& path);

// The key that belongs to `certificate`: NAME.key, or NAME.key.new if a crash interrupted a renewal. kConflict if
// neither does.
Result<crypto::PrivateKey> read_key_of(const crypto::Certificate& certificate, const std::filesystem::path& folder,
                                       std::string_view name);

// kExpired, with the file and `advice`, unless each certificate is valid at `now`.
Result<void> check_time(const std::filesystem::path& path, const std::vector<crypto::Certificate>& chain, WallTime now,
                        std::string_view advice);

}  // namespace fleet::provisioner
