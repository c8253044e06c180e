#include "provisioner/cli/documents.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <iterator>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/fd.hpp"
#include "core/config/csv.hpp"
#include "core/config/yaml_pieces.hpp"
#include "provisioner/admin/wire.hpp"
#include "provisioner/manifest/manifest.hpp"
#include "provisioner/manifest/request_table.hpp"

namespace fleet::provisioner {
namespace {

namespace fs = std::filesystem;

// Enough for a thread to be worth its start; decoded they take some fifteen times as much.
constexpr std::size_t kPiece = 256 * 1024;
constexpr std::size_t kRows = 1000;
// Pieces that are read, decoded or waiting for whoever asks.
constexpr std::size_t kAhead = 3;

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

// "line:column: why" of the readers.
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

std::string shown(const std::string& file) {
  return file == "-" ? "stdin" : file;
}

// Errors of reading; what is wrong with the text itself is another matter.
bool is_about_content(const Error& error) {
  return error.code == ErrorCode::kMalformed || error.code == ErrorCode::kLimitExceeded;
}

DocumentPiece decode_yaml(const std::string& file, const config::YamlPiece& piece) {
  const fs::path folder = file == "-" ? fs::path(".") : fs::path(file).parent_path();
  DocumentPiece decoded;
  config::YamlReader reader(piece.text, piece.first_line);
  while (true) {
    auto next = reader.next();
    if (!next) {
      decoded.problems.push_back(problem_of(shown(file), next.error().message));
      return decoded;
    }
    if (!*next) return decoded;
    config::Node& node = **next;
    config::Problems unread(shown(file)), problems(shown(file));
    inline_files(node, folder, unread);
    std::vector<PackageFile> packages = measure_packages(node, folder, unread);
    auto manifest = decode_manifest(node, problems);
    decoded.problems.insert(decoded.problems.end(), unread.list().begin(), unread.list().end());
    // that a value is missing whose file could not be read has been said
    std::copy_if(problems.list().begin(), problems.list().end(), std::back_inserter(decoded.problems),
                 [&](const config::Problem& problem) { return !is_at_one_of(unread.list(), problem.mark); });
    if (!unread.empty()) manifest.reset();
    decoded.documents.push_back({shown(file), std::move(node), std::move(packages), std::move(manifest)});
  }
}

DocumentPiece decode_rows(const std::string& file, const RequestTable& table, std::vector<config::CsvRow> rows) {
  DocumentPiece decoded;
  for (config::CsvRow& row : rows) {
    config::Problems problems(shown(file));
    if (auto node = table.document_of(std::move(row), problems)) {
      auto manifest = decode_manifest(*node, problems);
      decoded.documents.push_back({shown(file), std::move(*node), {}, std::move(manifest), true});
    }
    for (config::Problem problem : problems.list()) {
      problem.path = RequestTable::column_of(problem.path);
      decoded.problems.push_back(std::move(problem));
    }
  }
  return decoded;
}

bool is_table(const std::string& file) {
  std::string extension = fs::path(file).extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension == ".csv";
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

// One file, in pieces of text that threads can decode.
class DocumentStream::Source {
 public:
  static Result<std::unique_ptr<Source>> open(const std::string& file, const std::string& profile) {
    auto source = std::unique_ptr<Source>(new Source(file, profile));
    if (file == "-") return source;
    source->fd_ = Fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!source->fd_) return fail(errno_error(errno, file));
    return source;
  }

  // What makes the next piece, to be called on any thread; empty at the end. Of an error in the content the piece tells.
  Result<std::function<DocumentPiece()>> next() {
    if (ended_) return std::function<DocumentPiece()>();
    auto piece = is_table(file_) ? next_rows() : next_documents();
    if (piece) return piece;
    if (!is_about_content(piece.error())) return piece;
    ended_ = true;
    return [problem = problem_of(shown(file_), piece.error().message)] { return DocumentPiece{{}, {problem}}; };
  }

  std::uint64_t bytes_read() const { return bytes_read_; }

 private:
  Source(std::string file, std::string profile)
      : file_(std::move(file)),
        profile_(std::move(profile)),
        yaml_([this](char* buffer, std::size_t size) { return read(buffer, size); }, kPiece, kMaxAdminBody),
        csv_([this](char* buffer, std::size_t size) { return read(buffer, size); }) {}

  Result<std::size_t> read(char* buffer, std::size_t size) {
    while (true) {
      const ssize_t got = ::read(fd_ ? fd_.get() : STDIN_FILENO, buffer, size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail(errno_error(errno, shown(file_)));
      bytes_read_ += static_cast<std::uint64_t>(got);
      return static_cast<std::size_t>(got);
    }
  }

  Result<std::function<DocumentPiece()>> next_documents() {
    TRY_ASSIGN(auto piece, yaml_.next());
    if (!piece) return std::function<DocumentPiece()>();
    return [file = file_, text = std::make_shared<config::YamlPiece>(std::move(*piece))] { return decode_yaml(file, *text); };
  }

  Result<std::function<DocumentPiece()>> next_rows() {
    if (!table_) {
      TRY_ASSIGN(const auto header, csv_.next());
      config::Problems problems(shown(file_));
      if (!header) problems.add({1, 1}, "", "this table is empty: its first row names the columns");
      auto table = header ? RequestTable::with_header(*header, profile_, problems) : std::nullopt;
      if (!table) {
        ended_ = true;
        return [found = problems.list()] { return DocumentPiece{{}, found}; };
      }
      table_ = std::make_shared<const RequestTable>(std::move(*table));
    }
    auto rows = std::make_shared<std::vector<config::CsvRow>>();
    while (rows->size() < kRows) {
      auto row = csv_.next();
      if (!row && rows->empty()) return fail(std::move(row).error());
      if (!row || !*row) break;  // an error comes again
      rows->push_back(std::move(**row));
    }
    if (rows->empty()) return std::function<DocumentPiece()>();
    return [file = file_, table = table_, rows] { return decode_rows(file, *table, std::move(*rows)); };
  }

  std::string file_, profile_;
  Fd fd_;  // none: stdin
  config::YamlPieces yaml_;
  config::CsvReader csv_;
  std::shared_ptr<const RequestTable> table_;
  std::uint64_t bytes_read_ = 0;
  bool ended_ = false;
};

Result<DocumentStream> DocumentStream::open(const std::vector<std::string>& sources, std::string profile) {
  std::vector<std::string> all;
  for (const std::string& source : sources) {
    TRY_ASSIGN(const std::vector<std::string> files, files_of(source));
    all.insert(all.end(), files.begin(), files.end());
  }
  std::reverse(all.begin(), all.end());
  return DocumentStream(std::move(all), std::move(profile));
}

DocumentStream::DocumentStream(std::vector<std::string> files, std::string profile)
    : files_(std::move(files)), profile_(std::move(profile)) {
  std::uint64_t sum = 0;
  for (const std::string& file : files_) {
    struct stat found {};
    if (file == "-" || ::stat(file.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return;
    sum += static_cast<std::uint64_t>(found.st_size);
  }
  bytes_in_all_ = sum;
}

DocumentStream::DocumentStream(DocumentStream&&) noexcept = default;
DocumentStream::~DocumentStream() = default;

Result<std::optional<DocumentPiece>> DocumentStream::next() {
  while (!failure_ && ahead_.size() < kAhead && (source_ || !files_.empty())) {
    if (auto read = read_ahead(); !read) failure_ = std::move(read).error();
  }
  if (ahead_.empty()) return failure_ ? Result<std::optional<DocumentPiece>>(fail(*failure_)) : std::nullopt;
  DocumentPiece piece = ahead_.front().get();
  ahead_.pop_front();
  return piece;
}

Result<void> DocumentStream::read_ahead() {
  if (!source_) {
    const std::string file = files_.back();
    files_.pop_back();
    TRY_ASSIGN(source_, Source::open(file, profile_));
  }
  TRY_ASSIGN(auto decode, source_->next());
  if (decode) {
    ahead_.push_back(std::async(std::launch::async, std::move(decode)));
  } else {
    bytes_of_ended_ += source_->bytes_read();
    source_.reset();
  }
  return {};
}

std::uint64_t DocumentStream::bytes_read() const {
  return bytes_of_ended_ + (source_ ? source_->bytes_read() : 0);
}

Result<LoadedDocuments> load_documents(const std::vector<std::string>& sources) {
  TRY_ASSIGN(DocumentStream stream, DocumentStream::open(sources));
  std::vector<DocumentPiece> pieces;
  while (true) {
    TRY_ASSIGN(std::optional<DocumentPiece> piece, stream.next());
    if (!piece) return joined(std::move(pieces));
    pieces.push_back(std::move(*piece));
  }
}

LoadedDocuments joined(std::vector<DocumentPiece> pieces) {
  LoadedDocuments loaded;
  for (DocumentPiece& piece : pieces) {
    std::move(piece.documents.begin(), piece.documents.end(), std::back_inserter(loaded.documents));
    std::move(piece.problems.begin(), piece.problems.end(), std::back_inserter(loaded.problems));
  }
  return loaded;
}

config::Problem problem_at(const SourceDocument& document, const std::string& path, const std::string& why) {
  return {document.file, locate(document.node, path), document.row ? RequestTable::column_of(path) : path, why};
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
