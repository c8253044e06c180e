// The operator's files as documents that know where each of their values stood. Private to provisioner/cli.
#pragma once

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
};

struct LoadedDocuments {
  std::vector<SourceDocument> documents;
  std::vector<config::Problem> problems;  // all, of all files, in order; not empty: some documents are missing
};

// Reads files, folders (their *.yaml and *.yml, sorted) and "-", and checks every document. An error only if a source
// cannot be read at all.
Result<LoadedDocuments> load_documents(const std::vector<std::string>& sources);

// Where the value of `path` ("spec.labels.a.b[2]") stands in `node`, or the nearest value around it.
config::Mark locate(const config::Node& node, std::string_view path);

}  // namespace fleet::provisioner
