#include "agent/simulator/roster.hpp"

#include <algorithm>
#include <unordered_set>

#include "core/base/file.hpp"

namespace fleet::agent {
namespace {

constexpr std::size_t kMaxFile = std::size_t{1} << 30;

// Reads one record after the other; a quoted field may hold commas, quotes and line ends.
class CsvReader {
 public:
  explicit CsvReader(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }
  std::size_t line() const { return line_; }

  Result<std::vector<std::string>> record() {
    std::vector<std::string> fields;
    while (true) {
      TRY_ASSIGN(std::string field, field_text());
      fields.push_back(std::move(field));
      if (!rest_.starts_with(',')) break;
      rest_.remove_prefix(1);
    }
    if (rest_.starts_with('\r')) rest_.remove_prefix(1);
    if (!rest_.empty() && !rest_.starts_with('\n')) return fail(ErrorCode::kMalformed, "line {}: text behind a quoted field", line_);
    if (!rest_.empty()) rest_.remove_prefix(1);
    ++line_;
    return fields;
  }

 private:
  Result<std::string> field_text() {
    if (!rest_.starts_with('"')) {
      const std::string_view text = rest_.substr(0, rest_.find_first_of(",\r\n"));
      rest_.remove_prefix(text.size());
      return std::string(text);
    }
    const std::size_t begun = line_;
    std::string text;
    rest_.remove_prefix(1);
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') {
        if (!rest_.starts_with('"')) return text;
        rest_.remove_prefix(1);
      }
      if (c == '\n') ++line_;
      text.push_back(c);
    }
    return fail(ErrorCode::kMalformed, "line {}: a quoted field does not end", begun);
  }

  std::string_view rest_;
  std::size_t line_ = 1;
};

}  // namespace

Result<std::vector<RosterEntry>> parse_roster(std::string_view csv) {
  CsvReader reader(csv);
  if (reader.at_end()) return fail(ErrorCode::kMalformed, "it is empty");
  TRY_ASSIGN(const std::vector<std::string> header, reader.record());
  const auto column = [&](std::string_view name) -> Result<std::size_t> {
    const auto found = std::find(header.begin(), header.end(), name);
    if (found == header.end()) {
      return fail(ErrorCode::kMalformed, "line 1: no column '{}'; give the file that `provisioner apply --secrets-out` wrote", name);
    }
    return static_cast<std::size_t>(found - header.begin());
  };
  TRY_ASSIGN(const std::size_t name, column("name"));
  TRY_ASSIGN(const std::size_t client_id, column("clientId"));
  TRY_ASSIGN(const std::size_t username, column("username"));
  TRY_ASSIGN(const std::size_t password, column("password"));
  const auto key = column("activationKey");
  std::vector<RosterEntry> roster;
  std::unordered_set<std::string> seen;
  while (!reader.at_end()) {
    const std::size_t line = reader.line();
    TRY_ASSIGN(std::vector<std::string> fields, reader.record());
    if (fields.size() == 1 && fields.front().empty()) continue;
    if (fields.size() != header.size()) {
      return fail(ErrorCode::kMalformed, "line {}: {} fields instead of {}", line, fields.size(), header.size());
    }
    RosterEntry entry;
    entry.name = fields[name];
    entry.client_id = fields[client_id];
    entry.username = fields[username];
    entry.password = Secret(std::move(fields[password]));
    if (key && !fields[*key].empty()) entry.activation_key = Secret(std::move(fields[*key]));
    if (entry.client_id.empty() || entry.password.empty()) {
      return fail(ErrorCode::kMalformed, "line {}: a device needs a clientId and a password", line);
    }
    if (!seen.insert(entry.client_id).second) {
      return fail(ErrorCode::kInvalidArgument, "line {}: device {} comes twice", line, entry.client_id);
    }
    roster.push_back(std::move(entry));
  }
  if (roster.empty()) return fail(ErrorCode::kInvalidArgument, "it names no device");
  return roster;
}

Result<std::vector<RosterEntry>> read_roster(const std::filesystem::path& file) {
  TRY_ASSIGN(const Bytes text, read_file(file, kMaxFile));
  auto roster = parse_roster(text);
  if (!roster) return fail(roster.error().code, "{}: {}", file.string(), roster.error().message);
  return roster;
}

}  // namespace fleet::agent
