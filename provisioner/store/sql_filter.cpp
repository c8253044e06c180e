#include "provisioner/store/sql_filter.hpp"

#include <algorithm>

namespace fleet::provisioner {
namespace {

// As SQLite's lower() does it.
std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

}  // namespace

std::string where_of(const RequestFilter& filter) {
  std::string where = "TRUE";
  if (filter.names) where += " AND request.name IN (SELECT value FROM json_each(?))";
  if (!filter.statuses.empty()) {
    where += " AND request.status IN (?";
    for (std::size_t i = 1; i < filter.statuses.size(); ++i) where += ", ?";
    where += ")";
  }
  if (!filter.profile.empty()) where += " AND request.profile = ?";
  if (!filter.text.empty()) {
    where +=
        " AND (instr(lower(request.name), ?) > 0 OR instr(lower(request.client_id), ?) > 0"
        " OR instr(lower(request.username), ?) > 0"
        " OR EXISTS (SELECT 1 FROM json_each(request.facts) AS fact WHERE instr(lower(fact.value), ?) > 0))";
  }
  for (std::size_t i = 0; i < filter.labels.size(); ++i) {
    where += " AND EXISTS (SELECT 1 FROM json_each(request.labels) AS label WHERE label.key = ? AND label.value = ?)";
  }
  return where;
}

Result<void> bind_filter(Binder& binder, const RequestFilter& filter) {
  if (filter.names) {
    TRY_ASSIGN(const std::string names, to_json(*filter.names));
    binder.text(names);
  }
  for (const JobStatus status : filter.statuses) binder.text(to_string(status));
  if (!filter.profile.empty()) binder.text(filter.profile);
  if (!filter.text.empty()) {
    const std::string text = lower(filter.text);
    binder.text(text).text(text).text(text).text(text);
  }
  for (const auto& [key, value] : filter.labels) binder.text(key).text(value);
  return {};
}

}  // namespace fleet::provisioner
