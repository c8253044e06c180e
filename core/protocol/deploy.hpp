// Applications (edc §4.5): the requests of DEPLOY-V2 and DEPLOY-V1, and what a device tells about a job. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/protocol/kura_payload.hpp"

namespace fleet::protocol {

inline constexpr std::string_view kDeployMethod = "EXEC";
inline constexpr std::string_view kDownloadResource = "download";  // DEPLOY-V2; of requests and of NOTIFY
inline constexpr std::string_view kInstallResource = "install";    // DEPLOY-V2 and DEPLOY-V1; of NOTIFY too
inline constexpr std::size_t kMaxInlinePackage = 512 * 1024;       // bytes in the body of DEPLOY-V1 EXEC install
inline constexpr std::size_t kMaxPackages = 9;                     // an attempt: 10 attachments, one the configuration

// A package's name and version become names of folders on the device, and together a file name that can be taken apart:
//   name    [A-Za-z0-9._+-]{1,128}, not beginning with a dot
//   version [A-Za-z0-9.+~-]{1,64}, not beginning with a dot
bool is_package_name(std::string_view text);
bool is_package_version(std::string_view text);
// What a download's uri may be: printable ASCII without spaces, 1 to kMaxPackageUri bytes. Nothing about its scheme.
inline constexpr std::size_t kMaxPackageUri = 2048;
bool is_package_uri(std::string_view text);

struct PackageId {
  std::string name, version;
  friend bool operator==(const PackageId&, const PackageId&) = default;
};

// --- DEPLOY-V2 EXEC download

struct DownloadRequest {
  std::int64_t job_id = 0;  // unique per account
  PackageId package;
  std::string uri;      // printable ASCII, 1 to 2048 bytes; which schemes are fetched is the device's decision
  std::string sha256;   // of the file at `uri`: 64 lower-case hex digits
  bool install = true;  // false: download and check only; an EXEC install follows
  friend bool operator==(const DownloadRequest&, const DownloadRequest&) = default;
};

// dp.download.protocol is the scheme of the uri, in upper case. Without the head, which add_head() adds.
KuraPayload to_payload(const DownloadRequest& request);
// kMalformed names the metric that is missing or does not have its form. A missing dp.install means true, as in Kura;
// dp.download.protocol says nothing that the uri does not say, and is not looked at.
Result<DownloadRequest> parse_download_request(const KuraPayload& payload);

// "SHA-256:" + hex, the value of dp.download.hash. The hex of either case; kMalformed for another algorithm or form.
std::string hash_text(std::string_view sha256_hex);
Result<std::string> parse_hash_text(std::string_view text);

// --- DEPLOY-V2 EXEC install: of a package that a download without `install` has brought

struct InstallRequest {
  std::int64_t job_id = 0;
  PackageId package;
  friend bool operator==(const InstallRequest&, const InstallRequest&) = default;
};

KuraPayload to_payload(const InstallRequest& request);
Result<InstallRequest> parse_install_request(const KuraPayload& payload);

// --- DEPLOY-V2 NOTIFY

// Which half of a job a notification tells of: the resource of its topic.
enum class DeployStage { kDownload, kInstall };
std::string_view to_string(DeployStage stage);  // the resource
Result<DeployStage> parse_deploy_stage(std::string_view resource);

enum class DeployStatus { kInProgress, kCompleted, kFailed, kAlreadyDone, kCancelled };
std::string_view to_string(DeployStatus status);  // "IN_PROGRESS" … "ALREADY DONE" …
Result<DeployStatus> parse_deploy_status(std::string_view text);

struct DeployNotification {
  DeployStage stage = DeployStage::kDownload;
  std::int64_t job_id = 0;
  std::int32_t progress = 0;  // 0..100
  DeployStatus status = DeployStatus::kInProgress;
  std::string error;  // dp.*.error.message, empty if none
  friend bool operator==(const DeployNotification&, const DeployNotification&) = default;
};

KuraPayload to_payload(const DeployNotification& notification, std::int64_t timestamp_ms);
// `stage` is that of the topic. kMalformed if a metric is missing, of another type or out of its range.
Result<DeployNotification> parse_deploy_notification(DeployStage stage, const KuraPayload& payload);

// COMPLETED or ALREADY DONE.
bool is_success(DeployStatus status);

// --- DEPLOY-V1 EXEC install: a package inline, at most kMaxInlinePackage bytes

struct InlinePackage {
  std::string file_name;  // deploy.filename: [A-Za-z0-9._+~-]{1,255}, not beginning with a dot
  Bytes content;
};

KuraPayload to_payload(const InlinePackage& package);
// kMalformed, or kLimitExceeded above kMaxInlinePackage.
Result<InlinePackage> parse_inline_package(const KuraPayload& payload);

// "{name}_{version}{extension}", e.g. `sensor-app_1.2.0.tar.gz`: the deploy.filename that package_id_of() reads. The
// extension begins with a dot and a letter.
std::string package_file_name(const PackageId& package, std::string_view extension);
// What a file name says about the package in it (our decision; nothing public says how): the extension (.tar.gz, .tgz,
// or the last one that begins with a letter) is cut off; the version follows the last `_`, else the last `-` that
// stands before a digit; without either it is "0". kMalformed if a part does not have its form.
Result<PackageId> package_id_of(std::string_view file_name);

// The metrics deploy.pkg.name and deploy.pkg.version of the reply to DEPLOY-V1.
void add_installed_package(KuraPayload& reply, const PackageId& package);
// kMalformed if one is missing or does not have its form.
Result<PackageId> parse_installed_package(const KuraPayload& reply);

}  // namespace fleet::protocol
