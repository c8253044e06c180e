#include "core/protocol/deploy.hpp"

#include <algorithm>
#include <array>

namespace fleet::protocol {
namespace {

constexpr std::string_view kJobId = "job.id";
constexpr std::string_view kUri = "dp.uri";
constexpr std::string_view kName = "dp.name";
constexpr std::string_view kVersion = "dp.version";
constexpr std::string_view kDownloadProtocol = "dp.download.protocol";
constexpr std::string_view kDownloadHash = "dp.download.hash";
constexpr std::string_view kInstall = "dp.install";
constexpr std::string_view kFileName = "deploy.filename";
constexpr std::string_view kInstalledName = "deploy.pkg.name";
constexpr std::string_view kInstalledVersion = "deploy.pkg.version";

constexpr std::string_view kHashPrefix = "SHA-256:";
constexpr std::size_t kSha256Digits = 64;
constexpr std::size_t kMaxName = 128;
constexpr std::size_t kMaxVersion = 64;
constexpr std::size_t kMaxFileName = 255;

// The metrics of a notification, by DeployStage.
struct StageNames {
  std::string_view resource, progress, status, error;
};
constexpr std::array<StageNames, 2> kStages{{
    {kDownloadResource, "dp.download.progress", "dp.download.status", "dp.download.error.message"},
    {kInstallResource, "dp.install.progress", "dp.install.status", "dp.install.error.message"},
}};
// By DeployStatus.
constexpr std::array<std::string_view, 5> kStatuses{"IN_PROGRESS", "COMPLETED", "FAILED", "ALREADY DONE", "CANCELLED"};

const StageNames& names_of(DeployStage stage) {
  return kStages[static_cast<std::size_t>(stage)];
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// 1 to `longest` of letters, digits and `others`, not beginning with a dot: one harmless component of a path.
bool is_component(std::string_view text, std::size_t longest, std::string_view others) {
  return !text.empty() && text.size() <= longest && text.front() != '.' &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return is_digit(c) || is_letter(c) || others.find(c) != std::string_view::npos; });
}

Result<std::string> text_metric(const KuraPayload& payload, std::string_view name) {
  if (const std::string* value = payload.string(name)) return *value;
  return fail(ErrorCode::kMalformed, "{} is missing or not of type STRING", name);
}

Result<std::int64_t> job_metric(const KuraPayload& payload) {
  if (const auto value = payload.int64(kJobId)) return *value;
  return fail(ErrorCode::kMalformed, "{} is missing or not of type INT64", kJobId);
}

Result<PackageId> package_metrics(const KuraPayload& payload, std::string_view name, std::string_view version) {
  PackageId package;
  TRY_ASSIGN(package.name, text_metric(payload, name));
  TRY_ASSIGN(package.version, text_metric(payload, version));
  if (!is_package_name(package.name)) {
    return fail(ErrorCode::kMalformed,
                "{} does not have its form, 1 to 128 of A-Z a-z 0-9 . _ + - without a leading dot", name);
  }
  if (!is_package_version(package.version)) {
    return fail(ErrorCode::kMalformed,
                "{} does not have its form, 1 to 64 of A-Z a-z 0-9 . + ~ - without a leading dot", version);
  }
  return package;
}

std::string upper_scheme(std::string_view uri) {
  std::string scheme(uri.substr(0, std::min(uri.find(':'), uri.size())));
  std::transform(scheme.begin(), scheme.end(), scheme.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return scheme;
}

// `app_1.2.tar.gz` without `.tar.gz`; a version's own dots stay.
std::string_view without_extension(std::string_view file_name) {
  for (const std::string_view archive : {".tar.gz", ".tgz"}) {
    if (file_name.ends_with(archive)) return file_name.substr(0, file_name.size() - archive.size());
  }
  const std::size_t dot = file_name.rfind('.');
  const bool extension = dot != std::string_view::npos && dot + 1 < file_name.size() && is_letter(file_name[dot + 1]);
  return extension ? file_name.substr(0, dot) : file_name;
}

// Where the separator between name and version stands.
std::size_t version_mark(std::string_view stem) {
  if (const std::size_t mark = stem.rfind('_'); mark != std::string_view::npos) return mark;
  for (std::size_t at = stem.size(); at-- > 0;) {
    if (stem[at] == '-' && at + 1 < stem.size() && is_digit(stem[at + 1])) return at;
  }
  return std::string_view::npos;
}

}  // namespace

bool is_package_name(std::string_view text) {
  return is_component(text, kMaxName, "._+-");
}

bool is_package_version(std::string_view text) {
  return is_component(text, kMaxVersion, ".+~-");
}

bool is_package_uri(std::string_view text) {
  return !text.empty() && text.size() <= kMaxPackageUri &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

// --- DEPLOY-V2 EXEC

std::string hash_text(std::string_view sha256_hex) {
  return std::string(kHashPrefix) + std::string(sha256_hex);
}

Result<std::string> parse_hash_text(std::string_view text) {
  if (!text.starts_with(kHashPrefix)) return fail(ErrorCode::kMalformed, "not {}hex", kHashPrefix);
  text.remove_prefix(kHashPrefix.size());
  const auto digest = from_hex(text);
  if (!digest || text.size() != kSha256Digits) return fail(ErrorCode::kMalformed, "not {} hex digits", kSha256Digits);
  return to_hex(*digest);
}

KuraPayload to_payload(const DownloadRequest& request) {
  KuraPayload payload;
  payload.add(std::string(kJobId), request.job_id);
  payload.add(std::string(kUri), request.uri);
  payload.add(std::string(kName), request.package.name);
  payload.add(std::string(kVersion), request.package.version);
  payload.add(std::string(kDownloadProtocol), upper_scheme(request.uri));
  payload.add(std::string(kDownloadHash), hash_text(request.sha256));
  payload.add(std::string(kInstall), request.install);
  return payload;
}

Result<DownloadRequest> parse_download_request(const KuraPayload& payload) {
  DownloadRequest request;
  TRY_ASSIGN(request.job_id, job_metric(payload));
  TRY_ASSIGN(request.package, package_metrics(payload, kName, kVersion));
  TRY_ASSIGN(request.uri, text_metric(payload, kUri));
  if (!is_package_uri(request.uri)) {
    return fail(ErrorCode::kMalformed, "{} is not a URI of 1 to {} printable characters", kUri, kMaxPackageUri);
  }
  TRY_ASSIGN(const std::string hash, text_metric(payload, kDownloadHash));
  auto digest = parse_hash_text(hash);
  if (!digest) return fail(with_context(digest.error(), kDownloadHash));
  request.sha256 = std::move(*digest);
  if (const Metric* install = payload.find(kInstall)) {
    const bool* value = std::get_if<bool>(&install->value);
    if (value == nullptr) return fail(ErrorCode::kMalformed, "{} is not of type BOOL", kInstall);
    request.install = *value;
  }
  return request;
}

KuraPayload to_payload(const InstallRequest& request) {
  KuraPayload payload;
  payload.add(std::string(kJobId), request.job_id);
  payload.add(std::string(kName), request.package.name);
  payload.add(std::string(kVersion), request.package.version);
  return payload;
}

Result<InstallRequest> parse_install_request(const KuraPayload& payload) {
  InstallRequest request;
  TRY_ASSIGN(request.job_id, job_metric(payload));
  TRY_ASSIGN(request.package, package_metrics(payload, kName, kVersion));
  return request;
}

// --- DEPLOY-V2 NOTIFY

std::string_view to_string(DeployStage stage) {
  return names_of(stage).resource;
}

Result<DeployStage> parse_deploy_stage(std::string_view resource) {
  for (std::size_t i = 0; i < kStages.size(); ++i) {
    if (kStages[i].resource == resource) return static_cast<DeployStage>(i);
  }
  return fail(ErrorCode::kMalformed, "neither {} nor {}", kDownloadResource, kInstallResource);
}

std::string_view to_string(DeployStatus status) {
  return kStatuses[static_cast<std::size_t>(status)];
}

Result<DeployStatus> parse_deploy_status(std::string_view text) {
  const auto found = std::find(kStatuses.begin(), kStatuses.end(), text);
  if (found == kStatuses.end()) return fail(ErrorCode::kMalformed, "none of {}", fmt::join(kStatuses, ", "));
  return static_cast<DeployStatus>(found - kStatuses.begin());
}

KuraPayload to_payload(const DeployNotification& notification, std::int64_t timestamp_ms) {
  const StageNames& names = names_of(notification.stage);
  KuraPayload payload;
  payload.timestamp = timestamp_ms;
  payload.add(std::string(kJobId), notification.job_id);
  payload.add(std::string(names.progress), notification.progress);
  payload.add(std::string(names.status), std::string(to_string(notification.status)));
  if (!notification.error.empty()) payload.add(std::string(names.error), notification.error);
  return payload;
}

Result<DeployNotification> parse_deploy_notification(DeployStage stage, const KuraPayload& payload) {
  const StageNames& names = names_of(stage);
  DeployNotification notification;
  notification.stage = stage;
  TRY_ASSIGN(notification.job_id, job_metric(payload));
  const auto progress = payload.int32(names.progress);
  if (!progress || *progress < 0 || *progress > 100) {
    return fail(ErrorCode::kMalformed, "{} is missing or not an INT32 from 0 to 100", names.progress);
  }
  notification.progress = *progress;
  TRY_ASSIGN(const std::string status, text_metric(payload, names.status));
  const auto parsed = parse_deploy_status(status);
  if (!parsed) return fail(with_context(parsed.error(), names.status));
  notification.status = *parsed;
  if (payload.find(names.error) != nullptr) {
    TRY_ASSIGN(notification.error, text_metric(payload, names.error));
  }
  return notification;
}

bool is_success(DeployStatus status) {
  return status == DeployStatus::kCompleted || status == DeployStatus::kAlreadyDone;
}

// --- DEPLOY-V1

KuraPayload to_payload(const InlinePackage& package) {
  KuraPayload payload;
  payload.add(std::string(kFileName), package.file_name);
  payload.body = package.content;
  return payload;
}

Result<InlinePackage> parse_inline_package(const KuraPayload& payload) {
  InlinePackage package;
  TRY_ASSIGN(package.file_name, text_metric(payload, kFileName));
  if (!is_component(package.file_name, kMaxFileName, "._+~-")) {
    return fail(ErrorCode::kMalformed,
                "{} does not have its form, 1 to {} of A-Z a-z 0-9 . _ + ~ - without a leading dot", kFileName,
                kMaxFileName);
  }
  if (!payload.body || payload.body->empty()) return fail(ErrorCode::kMalformed, "body is missing");
  if (payload.body->size() > kMaxInlinePackage) {
    return fail(ErrorCode::kLimitExceeded, "body has {} bytes, more than {}", payload.body->size(), kMaxInlinePackage);
  }
  package.content = *payload.body;
  return package;
}

std::string package_file_name(const PackageId& package, std::string_view extension) {
  return fmt::format("{}_{}{}", package.name, package.version, extension);
}

Result<PackageId> package_id_of(std::string_view file_name) {
  const std::string_view stem = without_extension(file_name);
  const std::size_t mark = version_mark(stem);
  PackageId package{std::string(stem), "0"};
  if (mark != std::string_view::npos) package = {std::string(stem.substr(0, mark)), std::string(stem.substr(mark + 1))};
  if (!is_package_name(package.name) || !is_package_version(package.version)) {
    return fail(ErrorCode::kMalformed, "{} is not NAME_VERSION with an extension, e.g. sensor-app_1.2.0.tar.gz",
                kFileName);
  }
  return package;
}

void add_installed_package(KuraPayload& reply, const PackageId& package) {
  reply.add(std::string(kInstalledName), package.name);
  reply.add(std::string(kInstalledVersion), package.version);
}

Result<PackageId> parse_installed_package(const KuraPayload& reply) {
  return package_metrics(reply, kInstalledName, kInstalledVersion);
}

}  // namespace fleet::protocol
