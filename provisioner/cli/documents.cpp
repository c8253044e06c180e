#include "provisioner/cli/documents.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <optional>

#include "core/base/file.hpp"
#include "provisioner/admin/wire.hpp"
#include "provisioner/manifest/manifest.hpp"

namespace fleet::provisioner {
namespace {

namespace fs = std::filesystem;

Result<std::vector<std::string>> files_of(const std::string& source) {
  std::error_code error;
  if (source == "-" || !fs::is_directory(source, error)) return std::vector{source};
  std::vector<std::string> files;
  for (fs::directory_iterator entry(source, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path extension = entry->path().extension();
    if (extension == ".yaml" || extension == ".yml") files.push_back(entry->path().string());
  }
  if (error) return fail(errno_error(error.value(), source));
  if (files.empty())
    return fail(ErrorCode::kInvalidArgument, "{}: there is no *.yaml and no *.yml in this folder", source);
  std::sort(files.begin(), files.end());
  return files;
}

Result<std::string> text_of(const std::string& file) {
  if (file != "-") return read_file(file, kMaxAdminBody);
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (std::cin.bad()) return fail(ErrorCode::kIo, "stdin: cannot be read");
  return text;
}

// "line:column: why" of the YAML reader.
config::Problem problem_of(const std::string& file, std::string_view message) {
  config::Problem problem{file, {}, "", std::string(message)};
  const char* const end = message.data() + message.size();
  config::Mark mark;
  const auto line = std::from_chars(message.data(), end, mark.line);
  if (line.ec != std::errc() || line.ptr == end || *line.ptr != ':') return problem;
  const auto column = std::from_chars(line.ptr + 1, end, mark.column);
  if (column.ec != std::errc() || end - column.ptr < 2 || *column.ptr != ':') return problem;
  problem.mark = mark;
  problem.why.assign(column.ptr + 2, end);
  return problem;
}

bool is_at_one_of(const std::vector<config::Problem>& problems, config::Mark mark) {
  return std::any_of(problems.begin(), problems.end(), [&](const config::Problem& problem) {
    return problem.mark.line == mark.line && problem.mark.column == mark.column;
  });
}

void load_file(const std::string& file, const std::string& text, LoadedDocuments& loaded) {
  const std::string shown = file == "-" ? "stdin" : file;
  const fs::path folder = file == "-" ? fs::path(".") : fs::path(file).parent_path();
  config::YamlReader reader(text);
  while (true) {
    auto next = reader.next();
    if (!next) {
      loaded.problems.push_back(problem_of(shown, next.error().message));
      return;
    }
    if (!*next) return;
    config::Node& node = **next;
    config::Problems unread(shown), problems(shown);
    inline_files(node, folder, unread);
    std::vector<PackageFile> packages = measure_packages(node, folder, unread);
    static_cast<void>(decode_manifest(node, problems));
    loaded.problems.insert(loaded.problems.end(), unread.list().begin(), unread.list().end());
    // that a value is missing whose file could not be read has been said
    std::copy_if(problems.list().begin(), problems.list().end(), std::back_inserter(loaded.problems),
                 [&](const config::Problem& problem) { return !is_at_one_of(unread.list(), problem.mark); });
    loaded.documents.push_back({shown, std::move(node), std::move(packages)});
  }
}

// What of `path` lies behind `key`: nullopt if the path does not go through that key.
std::optional<std::string_view> behind(std::string_view path, std::string_view key) {
  if (!path.starts_with(key)) return std::nullopt;
  path.remove_prefix(key.size());
  if (path.empty() || path.front() == '[') return path;
  if (path.front() != '.') return std::nullopt;
  return path.substr(1);
}

}  // namespace

Result<LoadedDocuments> load_documents(const std::vector<std::string>& sources) {
  LoadedDocuments loaded;
  for (const std::string& source : sources) {
    TRY_ASSIGN(const std::vector<std::string> files, files_of(source));
    for (const std::string& file : files) {
      TRY_ASSIGN(const std::string text, text_of(file));
      load_file(file, text, loaded);
    }
  }
  return loaded;
}

config::Mark locate(const config::Node& node, std::string_view path) {
  if (path.empty()) return node.mark;
  if (node.kind == config::Node::Kind::kSequence && path.front() == '[') {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(path.data() + 1, path.data() + path.size(), index);
    if (error != std::errc() || index >= node.items.size()) return node.mark;
    path.remove_prefix(std::min(path.size(), static_cast<std::size_t>(end - path.data()) + 1));
    if (path.starts_with('.')) path.remove_prefix(1);
    return locate(node.items[index], path);
  }
  // keys may hold dots (component pids do), so the longest one that fits is meant
  const config::Node::Entry* best = nullptr;
  for (const config::Node::Entry& entry : node.entries) {
    if (behind(path, entry.key) && (best == nullptr || entry.key.size() > best->key.size())) best = &entry;
  }
  if (best == nullptr) return node.mark;
  return locate(best->value, *behind(path, best->key));
}

}  // namespace fleet::provisioner
