#include "provisioner/admin/query.hpp"

#include <charconv>
#include <functional>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/config/decoder.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::size_t kMaxPage = 1000;
constexpr std::size_t kMaxAudit = 10'000;
constexpr int kMaxReasons = 100;

Result<void> for_each_parameter(std::string_view query,
                                const std::function<Result<void>(std::string_view, const std::string&)>& read) {
  if (query.empty()) return {};
  for (const std::string_view parameter : split(query, '&')) {
    const std::size_t equals = parameter.find('=');
    const std::string_view escaped =
        equals == std::string_view::npos ? std::string_view() : parameter.substr(equals + 1);
    TRY_ASSIGN(const std::string value, percent_decode(escaped));
    TRY(read(parameter.substr(0, equals), value));
  }
  return {};
}

Result<std::size_t> parse_limit(const std::string& value, std::size_t most = kMaxPage) {
  std::size_t limit = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), limit);
  if (error != std::errc() || end != value.data() + value.size() || limit < 1 || limit > most) {
    return fail(ErrorCode::kMalformed, "limit '{}': must be 1 to {}", value, most);
  }
  return limit;
}

Result<void> add_label(const std::string& value, RequestFilter& filter) {
  const std::size_t equals = value.find('=');
  if (equals == std::string::npos) return fail(ErrorCode::kMalformed, "label '{}': write it as name=value", value);
  const auto [label, added] = filter.labels.emplace(value.substr(0, equals), value.substr(equals + 1));
  if (!added && label->second != value.substr(equals + 1)) {
    return fail(ErrorCode::kMalformed, "label '{}': a request cannot also have {}={}", value, label->first,
                label->second);
  }
  return {};
}

Result<void> read_request_parameter(std::string_view key, const std::string& value, RequestFilter& filter) {
  if (key == "status") {
    TRY_ASSIGN(const JobStatus status, parse_job_status(value));
    filter.statuses.push_back(status);
  } else if (key == "label") {
    return add_label(value, filter);
  } else if (key == "search") {
    filter.text = value;
  } else if (key == "name") {
    if (!filter.names) filter.names.emplace();
    filter.names->push_back(value);
  } else if (key == "after") {
    filter.after = value;
  } else if (key == "limit") {
    TRY_ASSIGN(filter.limit, parse_limit(value));
  } else {
    return fail(ErrorCode::kMalformed,
                "'{}' is no parameter of this list: use status, label, search, name, after, limit", key);
  }
  return {};
}

// "1893456000000.0a1b2c"
Result<std::pair<WallTime, std::string>> parse_place(const std::string& value) {
  std::int64_t millis = 0;
  const char* const last = value.data() + value.size();
  const auto [end, error] = std::from_chars(value.data(), last, millis);
  if (error != std::errc() || end == last || *end != '.') {
    return fail(ErrorCode::kMalformed, "after '{}': must be the \"next\" of the page before", value);
  }
  return std::pair(from_unix_millis(millis), std::string(end + 1, last));
}

}  // namespace

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Result<RequestFilter> parse_request_filter(std::string_view query) {
  RequestFilter filter;
  TRY(for_each_parameter(query, [&](std::string_view key, const std::string& value) {
    return read_request_parameter(key, value, filter);
  }));
  return filter;
}

Result<CertificateFilter> parse_certificate_filter(std::string_view query) {
  CertificateFilter filter;
  TRY(for_each_parameter(query, [&](std::string_view key, const std::string& value) -> Result<void> {
    if (key == "clientId") {
      filter.client_id = value;
    } else if (key == "expiresBefore") {
      TRY_ASSIGN(filter.expires_before, parse_time(value));
    } else if (key == "after") {
      TRY_ASSIGN(filter.after, parse_place(value));
    } else if (key == "limit") {
      TRY_ASSIGN(filter.limit, parse_limit(value));
    } else {
      return fail(ErrorCode::kMalformed,
                  "'{}' is no parameter of this list: use clientId, expiresBefore, after, limit", key);
    }
    return {};
  }));
  return filter;
}

Result<AuditFilter> parse_audit_filter(std::string_view query) {
  AuditFilter filter;
  TRY(for_each_parameter(query, [&](std::string_view key, const std::string& value) -> Result<void> {
    if (key == "since") {
      TRY_ASSIGN(filter.since, parse_time(value));
    } else if (key == "clientId") {
      filter.client_id = value;
    } else if (key == "kind") {
      filter.kind = value;
    } else if (key == "limit") {
      TRY_ASSIGN(filter.limit, parse_limit(value, kMaxAudit));
    } else {
      return fail(ErrorCode::kMalformed, "'{}' is no parameter of this list: use since, clientId, kind, limit", key);
    }
    return {};
  }));
  return filter;
}

std::string certificate_place(const IssuedCertificate& certificate) {
  return fmt::format("{}.{}", to_unix_millis(certificate.not_after), certificate.serial);
}

Result<ProgressQuery> parse_progress_query(std::string_view body) {
  TRY_ASSIGN(const config::Node node, config::parse_json(body));
  config::Problems problems;
  config::Object object(node, "", problems);
  ProgressQuery query;
  if (std::vector<std::string> names; object.optional_list("names", names)) query.filter.names = std::move(names);
  std::vector<std::pair<std::string, std::string>> labels;
  object.optional_map("labels", labels);
  query.filter.labels = {labels.begin(), labels.end()};
  object.optional("search", query.filter.text);
  const auto read_count = [&](std::string_view key, int limit, std::size_t& target) {
    int count = 0;
    if (!object.optional(key, count)) return;
    if (count < 0 || count > limit) object.problem(key, fmt::format("must be 0 to {}", limit));
    target = static_cast<std::size_t>(count);
  };
  read_count("reasons", kMaxReasons, query.reasons);
  read_count("unfinished", static_cast<int>(kMaxPage), query.unfinished);
  object.finish();
  TRY(problems.result());
  return query;
}

Result<bool> take_flag(std::string& query, std::string_view key) {
  std::string rest;
  bool flag = false;
  for (const std::string_view parameter : split(query, '&')) {
    if (parameter.substr(0, parameter.find('=')) != key) {
      if (!rest.empty()) rest += '&';
      rest += parameter;
    } else if (parameter == fmt::format("{}=true", key)) {
      flag = true;
    } else if (parameter != fmt::format("{}=false", key)) {
      return fail(ErrorCode::kMalformed, "'{}': must be true or false", parameter);
    }
  }
  query = std::move(rest);
  return flag;
}

}  // namespace fleet::provisioner
