#include "provisioner/manifest/packages.hpp"

#include <algorithm>
#include <set>

#include "core/crypto/sha256_stream.hpp"
#include "core/protocol/deploy.hpp"
#include "provisioner/manifest/manifest.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::int64_t kMaxPackageFile = 4LL * 1024 * 1024 * 1024;
constexpr std::size_t kMaxUrl = 1024;

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// It becomes the last level of a URL.
bool is_file_name(std::string_view text) {
  const auto fit = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           std::string_view("._+~-").find(c) != std::string_view::npos;
  };
  return !text.empty() && text.size() <= 128 && text.front() != '.' && std::all_of(text.begin(), text.end(), fit);
}

void read_id(config::Object& object, Package& package) {
  if (object.required("name", package.name) && !protocol::is_package_name(package.name)) {
    object.problem("name", "must be 1 to 128 of A-Z a-z 0-9 . _ + -, not beginning with a dot");
  }
  if (object.required("version", package.version) && !protocol::is_package_version(package.version)) {
    object.problem("version", "must be 1 to 64 of A-Z a-z 0-9 . + ~ -, not beginning with a dot");
  }
}

void read_hash(config::Object& object, Package& package) {
  if (!object.optional("sha256", package.sha256)) return;
  std::transform(package.sha256.begin(), package.sha256.end(), package.sha256.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (!is_sha256(package.sha256)) object.problem("sha256", "must be 64 hexadecimal digits");
}

void read_url(config::Object& object, Package& package) {
  const bool is_template = package.url.starts_with("${");
  if (!is_template && !package.url.starts_with("https://") && !package.url.starts_with("http://")) {
    object.problem("url", "must begin with https:// or http://");
  } else if (package.url.size() > kMaxUrl || !is_utf8(package.url) ||
             std::any_of(package.url.begin(), package.url.end(),
                         [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; })) {
    object.problem("url", fmt::format("must be at most {} bytes without spaces", kMaxUrl));
  }
  if (package.sha256.empty()) {
    object.problem("sha256", "missing: devices accept nothing else than what you mean; see: curl -fL URL | sha256sum");
  }
}

void read_file(config::Object& object, Package& package, bool is_inline) {
  package.source = is_inline ? PackageSource::kInline : PackageSource::kFile;
  if (!is_file_name(package.file_name)) {
    object.problem("file", "the file's own name must be 1 to 128 of A-Z a-z 0-9 . _ + ~ -, not beginning with a dot");
  }
  object.optional("size", package.size);
  if (package.sha256.empty() || package.size < 0 || package.size > kMaxPackageFile) {
    object.problem("file", "must have its sha256 and size, which the command line finds out");
  } else if (is_inline && package.size > static_cast<std::int64_t>(protocol::kMaxInlinePackage)) {
    object.problem("inline", fmt::format("the file has {} bytes, more than the {} that travel within a message; leave "
                                         "inline out to have it downloaded",
                                         package.size, protocol::kMaxInlinePackage));
  }
}

Package decode_package(const config::Node& node, const std::string& path, config::Problems& problems) {
  Package package;
  config::Object object(node, path, problems);
  read_id(object, package);
  read_hash(object, package);
  object.optional("requiredBeforeConfiguration", package.required_before_configuration);
  bool is_inline = false;
  object.optional("inline", is_inline);
  const bool has_url = object.optional("url", package.url);
  const bool has_file = object.optional("file", package.file_name);
  if (has_url == has_file) {
    object.problem(has_file ? "file" : "url", "give either url or file");
  } else if (has_url) {
    read_url(object, package);
    if (is_inline) object.problem("inline", "only a file can travel within the message");
  } else {
    read_file(object, package, is_inline);
  }
  object.finish();
  return package;
}

config::Node* find_mutable(config::Node* node, std::string_view key) {
  if (node == nullptr) return nullptr;
  for (config::Node::Entry& entry : node->entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

void set(config::Node& package, std::string_view key, std::string text, bool quoted, config::Mark mark) {
  config::Node value;
  value.kind = config::Node::Kind::kScalar;
  value.mark = mark;
  value.text = std::move(text);
  value.quoted = quoted;
  if (config::Node* old = find_mutable(&package, key)) {
    *old = std::move(value);
  } else {
    package.entries.push_back({std::string(key), mark, std::move(value)});
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

}  // namespace

std::vector<Package> decode_packages(const config::Node& node, const std::string& path, config::Problems& problems) {
  std::vector<Package> packages;
  if (node.kind != config::Node::Kind::kSequence) {
    problems.add(node.mark, path, "must be a list of packages");
    return packages;
  }
  if (node.items.size() > protocol::kMaxPackages) {
    problems.add(node.mark, path, fmt::format("{} packages: a device takes at most {}", node.items.size(), protocol::kMaxPackages));
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    const std::string item_path = fmt::format("{}[{}]", path, i);
    packages.push_back(decode_package(node.items[i], item_path, problems));
    const std::string& name = packages.back().name;
    if (!name.empty() && !names.insert(name).second) {
      problems.add(node.items[i].mark, item_path + ".name", fmt::format("a second package '{}'", name));
    }
  }
  return packages;
}

std::vector<PackageFile> measure_packages(config::Node& document, const std::filesystem::path& folder,
                                          config::Problems& problems) {
  std::vector<PackageFile> files;
  config::Node* packages = find_mutable(find_mutable(&document, "spec"), "packages");
  if (packages == nullptr) return files;
  for (std::size_t i = 0; i < packages->items.size(); ++i) {
    config::Node& package = packages->items[i];
    config::Node* file = find_mutable(&package, "file");
    if (file == nullptr || file->kind != config::Node::Kind::kScalar) continue;
    // as the service gives it out: it has the file
    if (find_mutable(&package, "size") != nullptr && find_mutable(&package, "sha256") != nullptr) continue;
    const config::Mark mark = file->mark;
    const std::string where = fmt::format("spec.packages[{}]", i);
    const std::filesystem::path path = folder / file->text;
    file->text = path.filename().string();
    file->quoted = true;
    const auto measured = crypto::sha256_of_file(path);
    if (!measured) {
      problems.add(mark, where + ".file", measured.error().message);
      continue;
    }
    const std::string sha256 = to_hex(measured->sha256);
    if (const config::Node* given = find_mutable(&package, "sha256");
        given != nullptr && given->kind == config::Node::Kind::kScalar && lower(given->text) != sha256) {
      problems.add(given->mark, where + ".sha256", fmt::format("{} has another one: {}", path.string(), sha256));
      continue;
    }
    if (const config::Node* size = find_mutable(&package, "size")) {
      problems.add(size->mark, where + ".size", "is found out by itself: leave it out");
      continue;
    }
    set(package, "sha256", sha256, true, mark);
    set(package, "size", std::to_string(measured->size), false, mark);
    files.push_back({path, sha256, measured->size});
  }
  return files;
}

}  // namespace fleet::provisioner
