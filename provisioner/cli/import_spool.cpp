#include "provisioner/cli/import_spool.hpp"

#include <utility>

namespace fleet::provisioner {
namespace {

// In front of the three names and the document, whose sizes it holds.
struct Head {
  std::uint64_t password;
  std::uint32_t name, client_id, username, json;
  std::uint32_t file;
  std::int32_t line, column;
  std::uint32_t wants_key;
};

}  // namespace

std::string with_spec(const std::string& json, const std::string& more) {
  if (more.empty()) return json;
  std::string text = json.substr(0, json.size() - 2);
  if (text.back() != '{') text += ',';
  return text + more + "}}";
}

Result<ImportSpool> ImportSpool::create() {
  TRY_ASSIGN(UnnamedFile file, UnnamedFile::create());
  return ImportSpool(std::move(file));
}

Result<void> ImportSpool::add(const ImportedRequest& request) {
  const auto size_of = [](const std::string& text) { return static_cast<std::uint32_t>(text.size()); };
  const Head head{request.password,     size_of(request.name), size_of(request.client_id), size_of(request.username),
                  size_of(request.json), request.file,          request.mark.line,          request.mark.column,
                  request.wants_key ? 1U : 0U};
  TRY(file_.write(&head, sizeof(head)));
  for (const std::string* text : {&request.name, &request.client_id, &request.username, &request.json}) {
    TRY(file_.write(text->data(), text->size()));
  }
  ++size_;
  return {};
}

Result<void> ImportSpool::rewind() {
  read_ = 0;
  return file_.rewind();
}

Result<std::optional<ImportedRequest>> ImportSpool::next() {
  if (read_ == size_) return std::nullopt;
  Head head{};
  TRY(file_.read(&head, sizeof(head)));
  ImportedRequest request;
  request.password = head.password;
  request.wants_key = head.wants_key != 0;
  request.file = head.file;
  request.mark = {head.line, head.column};
  request.name.resize(head.name);
  request.client_id.resize(head.client_id);
  request.username.resize(head.username);
  request.json.resize(head.json);
  for (std::string* text : {&request.name, &request.client_id, &request.username, &request.json}) {
    TRY(file_.read(text->data(), text->size()));
  }
  ++read_;
  return request;
}

}  // namespace fleet::provisioner
