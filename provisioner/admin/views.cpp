#include "provisioner/admin/views.hpp"

#include <set>
#include <utility>

#include <boost/json.hpp>

#include "core/config/node.hpp"
#include "provisioner/admin/json_view.hpp"
#include "provisioner/admin/query.hpp"
#include "provisioner/manifest/export.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

std::string body_of(const json::object& object) {
  return json::serialize(object) + "\n";
}

json::value next_name(const std::vector<ProvisionRequest>& page, const RequestFilter& filter) {
  return page.size() == filter.limit ? json::value(page.back().name) : json::value(nullptr);
}

// By hand, since numbers keep their text.
std::string manifests_body(const std::vector<config::Node>& manifests, const json::value& next) {
  std::string body = "{\"manifests\":[";
  for (const config::Node& manifest : manifests) {
    if (body.back() != '[') body += ',';
    body += config::to_json(manifest);
  }
  return body + "],\"next\":" + json::serialize(next) + "}\n";
}

View manifests_of_accounts() {
  return [](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const std::vector<Account> accounts, tx.list_accounts());
    std::vector<config::Node> manifests;
    for (const Account& account : accounts) manifests.push_back(to_manifest(account));
    return manifests_body(manifests, nullptr);
  };
}

View manifests_of_profiles(Secrets secrets) {
  return [secrets](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const std::vector<Profile> profiles, tx.list_profiles());
    std::vector<config::Node> manifests;
    for (const Profile& profile : profiles) manifests.push_back(to_manifest(profile, secrets));
    return manifests_body(manifests, nullptr);
  };
}

View manifests_of_requests(RequestFilter filter, Secrets secrets) {
  return [filter = std::move(filter), secrets](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const std::vector<ProvisionRequest> requests, tx.list_requests(filter));
    std::vector<config::Node> manifests;
    for (const ProvisionRequest& request : requests) manifests.push_back(to_manifest(request, secrets));
    return manifests_body(manifests, next_name(requests, filter));
  };
}

// All but COMPLETED.
std::vector<JobStatus> unfinished_statuses() {
  std::vector<JobStatus> statuses;
  for (int i = 0; i <= static_cast<int>(JobStatus::kStopped); ++i) {
    if (const auto status = static_cast<JobStatus>(i); status != JobStatus::kCompleted) statuses.push_back(status);
  }
  return statuses;
}

}  // namespace

Result<View> view_requests(std::string_view query) {
  TRY_ASSIGN(RequestFilter filter, parse_request_filter(query));
  return View([filter = std::move(filter)](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const std::vector<ProvisionRequest> requests, tx.list_requests(filter));
    json::array list;
    for (const ProvisionRequest& request : requests) list.push_back(to_json(request));
    return body_of({{"requests", std::move(list)}, {"next", next_name(requests, filter)}});
  });
}

Result<View> view_progress(std::string_view body) {
  TRY_ASSIGN(ProgressQuery query, parse_progress_query(body));
  std::size_t named = 0;
  if (query.filter.names) {
    named = std::set<std::string>(query.filter.names->begin(), query.filter.names->end()).size();
  }
  return View([query = std::move(query), named](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const RequestProgress progress, tx.progress_of(query.filter, wall_now(), query.reasons));
    json::object object = to_json(progress);
    // names that other conditions leave out are not gone: only names alone tell
    const bool only_names = query.filter.names && query.filter.labels.empty() && query.filter.text.empty();
    object["gone"] = only_names ? static_cast<std::int64_t>(named) - progress.total : 0;
    json::array unfinished;
    if (query.unfinished > 0) {
      RequestFilter filter = query.filter;
      filter.statuses = unfinished_statuses();
      filter.limit = query.unfinished;
      TRY_ASSIGN(const std::vector<ProvisionRequest> requests, tx.list_requests(filter));
      for (const ProvisionRequest& request : requests) unfinished.push_back(to_json(request));
    }
    object["unfinished"] = std::move(unfinished);
    return body_of(object);
  });
}

Result<View> view_certificates(std::string_view query) {
  TRY_ASSIGN(CertificateFilter filter, parse_certificate_filter(query));
  return View([filter = std::move(filter)](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const std::vector<CertificateRecord> records, tx.list_certificates(filter));
    json::array list;
    for (const CertificateRecord& record : records) list.push_back(to_json(record));
    json::value next = nullptr;
    if (records.size() == filter.limit) next = certificate_place(records.back().certificate);
    return body_of({{"certificates", std::move(list)}, {"next", std::move(next)}});
  });
}

View view_certificate(std::string serial) {
  return [serial = std::move(serial)](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const std::optional<CertificateRecord> record, tx.find_certificate(serial));
    if (!record) return fail(ErrorCode::kNotFound, "certificate {}: no such certificate was issued", serial);
    json::object object = to_json(*record);
    object["pem"] = record->certificate.pem;
    return body_of({{"certificate", std::move(object)}});
  };
}

Result<View> view_manifests(std::string_view kind, std::string query) {
  TRY_ASSIGN(const bool shown, take_flag(query, "secrets"));
  const Secrets secrets = shown ? Secrets::kShown : Secrets::kHidden;
  if (kind == "requests") {
    TRY_ASSIGN(RequestFilter filter, parse_request_filter(query));
    return manifests_of_requests(std::move(filter), secrets);
  }
  if (kind != "accounts" && kind != "profiles") return fail(ErrorCode::kNotFound, "/v1/manifests/{}: no such address", kind);
  if (!query.empty()) return fail(ErrorCode::kMalformed, "'{}': this list takes no parameter but secrets", query);
  return kind == "accounts" ? manifests_of_accounts() : manifests_of_profiles(secrets);
}

}  // namespace fleet::provisioner
