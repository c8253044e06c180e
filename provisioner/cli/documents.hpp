// The operator's files as documents that know where each of their values stood. Private to provisioner/cli.
#pragma once

#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/config/decoder.hpp"
#include "core/config/node.hpp"
#include "provisioner/manifest/manifest.hpp"

namespace fleet::provisioner {

struct SourceDocument {
  std::string file;   // as the person named it; "stdin" for "-"
  config::Node node;  // with the files that it names put in
  std::vector<PackageFile> packages{};  // the files that it names as packages
  std::optional<Manifest> manifest{};   // none: there were problems
  bool row = false;                     // of a table
};

// Some documents of one source, in order, and what is wrong with them and with what is missing between them.
struct DocumentPiece {
  std::vector<SourceDocument> documents;
  std::vector<config::Problem> problems;
};

// Reads files, folders (their *.yaml and *.yml, sorted) and "-", and checks every document. Files that end with ".csv" are
// tables of requests, all others YAML. However large they are, only a few pieces are held at a time; they are decoded by
// threads, ahead of whoever asks for them.
class DocumentStream {
 public:
  // `profile`: of the rows of tables that name none; may be empty.
  static Result<DocumentStream> open(const std::vector<std::string>& sources, std::string profile = {});
  DocumentStream(DocumentStream&&) noexcept;
  DocumentStream& operator=(DocumentStream&&) = delete;
  ~DocumentStream();

  // nullopt at the end. An error only if a source cannot be read at all, or is no longer read to its end.
  Result<std::optional<DocumentPiece>> next();

  // How far it has come, in bytes of the sources; their sum is nullopt if that is not known.
  std::uint64_t bytes_read() const;
  std::optional<std::uint64_t> bytes_in_all() const { return bytes_in_all_; }

 private:
  class Source;
  DocumentStream(std::vector<std::string> files, std::string profile);
  Result<void> read_ahead();

  std::vector<std::string> files_;  // still to be read, the next one last
  std::string profile_;
  std::unique_ptr<Source> source_;
  std::deque<std::future<DocumentPiece>> ahead_;
  std::optional<Error> failure_;  // behind what is ahead
  std::uint64_t bytes_of_ended_ = 0;
  std::optional<std::uint64_t> bytes_in_all_;
};

struct LoadedDocuments {
  std::vector<SourceDocument> documents;
  std::vector<config::Problem> problems;  // all, of all files, in order; not empty: some documents are missing
};

LoadedDocuments joined(std::vector<DocumentPiece> pieces);
// All of what a DocumentStream brings.
Result<LoadedDocuments> load_documents(const std::vector<std::string>& sources);

// Where the value of `path` ("spec.labels.a.b[2]") stands in `node`, or the nearest value around it.
config::Mark locate(const config::Node& node, std::string_view path);

// What the service finds wrong with a document, at the place where a person finds it.
config::Problem problem_at(const SourceDocument& document, const std::string& path, const std::string& why);

}  // namespace fleet::provisioner
