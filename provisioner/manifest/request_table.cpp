#include "provisioner/manifest/request_table.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "core/base/nearest.hpp"
#include "provisioner/manifest/manifest.hpp"

namespace fleet::provisioner {
namespace {

using config::Node;

constexpr std::string_view kLabels = "labels.";
constexpr std::string_view kParams = "params.";

struct KnownColumn {
  std::string_view name, key;
  bool text = true;
  bool required = false;
};

// All but name, labels and params are values of spec.
constexpr std::array kKnown{
    KnownColumn{"name", "name", true, true},
    KnownColumn{"clientId", "clientId", true, true},
    KnownColumn{"username", "provisionUserUsername", true, true},
    KnownColumn{"password", "provisionUserPassword"},
    KnownColumn{"activationKey", "activationKey"},
    KnownColumn{"generateActivationKey", "generateActivationKey", false},
    KnownColumn{"profile", "profile"},
    KnownColumn{"provisionSecureURL", "provisionSecureURL", false},
    KnownColumn{"deviceCredentialsTight", "deviceCredentialsTight"},
    KnownColumn{"status", "status"},
    KnownColumn{"activatesOn", "activatesOn"},
    KnownColumn{"expiresOn", "expiresOn"},
    KnownColumn{"retryMaxAttempts", "retryMaxAttempts", false},
    KnownColumn{"overwriteIfDuplicate", "overwriteIfDuplicate", false},
    KnownColumn{"optlock", "optlock", false},
};

Node scalar(std::string text, config::Mark mark, bool quoted) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.mark = mark;
  node.text = std::move(text);
  node.quoted = quoted;
  return node;
}

Node mapping(config::Mark mark) {
  Node node;
  node.kind = Node::Kind::kMapping;
  node.mark = mark;
  return node;
}

void put(Node& parent, std::string key, Node value) {
  const config::Mark mark = value.mark;
  parent.entries.push_back({std::move(key), mark, std::move(value)});
}

std::string unknown_column(const std::string& name, std::size_t columns) {
  if (columns == 1 && name.find(';') != std::string::npos) {
    return "one column only: cells stand between commas, not semicolons";
  }
  std::vector<std::string> names;
  for (const KnownColumn& known : kKnown) names.emplace_back(known.name);
  if (const std::string guess = nearest(name, names); !guess.empty()) {
    return fmt::format("unknown column '{}'; did you mean {}?", name, guess);
  }
  return fmt::format("unknown column '{}': a label would be labels.{}, a parameter params.{}", name, name, name);
}

}  // namespace

std::optional<RequestTable::Column> RequestTable::column(std::string_view name) {
  if (name.starts_with(kLabels)) return Column{Column::Place::kLabel, std::string(name.substr(kLabels.size())), true};
  if (name.starts_with(kParams)) return Column{Column::Place::kParam, std::string(name.substr(kParams.size())), true};
  const auto known = std::find_if(kKnown.begin(), kKnown.end(), [&](const KnownColumn& one) { return one.name == name; });
  if (known == kKnown.end()) return std::nullopt;
  return Column{name == "name" ? Column::Place::kName : Column::Place::kSpec, std::string(known->key), known->text};
}

std::optional<RequestTable> RequestTable::with_header(const config::CsvRow& header, std::string profile,
                                                      config::Problems& problems) {
  const std::size_t before = problems.list().size();
  RequestTable table;
  table.profile_ = std::move(profile);
  std::vector<std::string_view> names;
  for (const config::CsvCell& cell : header.cells) {
    if (std::find(names.begin(), names.end(), cell.text) != names.end()) {
      problems.add(cell.mark, "", fmt::format("a second column '{}'", cell.text));
    }
    names.push_back(cell.text);
    auto found = column(cell.text);
    if (!found) {
      problems.add(cell.mark, "", unknown_column(cell.text, header.cells.size()));
    } else {
      table.columns_.push_back(std::move(*found));
    }
  }
  const bool understood = problems.list().size() == before;
  for (const KnownColumn& known : kKnown) {
    if (!understood || !known.required || std::find(names.begin(), names.end(), known.name) != names.end()) continue;
    problems.add(header.mark, "", fmt::format("the column '{}' is missing: the first row names the columns", known.name));
  }
  if (problems.list().size() != before) return std::nullopt;
  return table;
}

std::optional<Node> RequestTable::document_of(config::CsvRow row, config::Problems& problems) const {
  if (row.cells.size() != columns_.size()) {
    problems.add(row.mark, "", fmt::format("{} cell{}, but the header has {}", row.cells.size(),
                                           row.cells.size() == 1 ? "" : "s", columns_.size()));
    return std::nullopt;
  }
  Node metadata = mapping(row.mark), labels = mapping(row.mark), params = mapping(row.mark), spec = mapping(row.mark);
  bool has_profile = false;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    config::CsvCell& cell = row.cells[i];
    if (cell.text.empty()) continue;
    const Column& column = columns_[i];
    Node value = scalar(std::move(cell.text), cell.mark, column.text);
    switch (column.place) {
      case Column::Place::kName: put(metadata, "name", std::move(value)); break;
      case Column::Place::kLabel: put(labels, column.key, std::move(value)); break;
      case Column::Place::kParam: put(params, column.key, std::move(value)); break;
      case Column::Place::kSpec:
        has_profile = has_profile || column.key == "profile";
        put(spec, column.key, std::move(value));
        break;
    }
  }
  if (!has_profile && !profile_.empty()) put(spec, "profile", scalar(profile_, row.mark, true));
  if (!labels.entries.empty()) put(metadata, "labels", std::move(labels));
  if (!params.entries.empty()) put(spec, "params", std::move(params));
  Node document = mapping(row.mark);
  put(document, "apiVersion", scalar(std::string(kApiVersion), row.mark, true));
  put(document, "kind", scalar("ProvisionRequest", row.mark, true));
  put(document, "metadata", std::move(metadata));
  put(document, "spec", std::move(spec));
  return document;
}

std::string RequestTable::column_of(std::string_view path) {
  if (path.starts_with("metadata.")) return std::string(path.substr(9));
  if (!path.starts_with("spec.")) return std::string(path);
  const std::string_view key = path.substr(5);
  for (const KnownColumn& known : kKnown) {
    if (known.key == key) return std::string(known.name);
  }
  return std::string(key);
}

}  // namespace fleet::provisioner
