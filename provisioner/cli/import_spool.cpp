#include "provisioner/cli/import_spool.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

#include "core/base/file.hpp"

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

constexpr std::string_view kWho = "a file for the import in ";

std::string folder() {
  const char* const given = std::getenv("TMPDIR");
  return given != nullptr && *given != '\0' ? given : "/var/tmp";
}

}  // namespace

std::string with_spec(const std::string& json, const std::string& more) {
  if (more.empty()) return json;
  std::string text = json.substr(0, json.size() - 2);
  if (text.back() != '{') text += ',';
  return text + more + "}}";
}

Result<ImportSpool> ImportSpool::create() {
  const std::string in = folder();
  int fd = ::open(in.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kPrivateFile);
  if (fd < 0) {  // not every file system has files without names
    std::string path = in + "/provisioner-import.XXXXXX";
    fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd >= 0) ::unlink(path.c_str());
  }
  if (fd < 0) return fail(errno_error(errno, std::string(kWho) + in));
  std::FILE* const file = ::fdopen(fd, "w+");
  if (file == nullptr) {
    ::close(fd);
    return fail(ErrorCode::kInternal, "{}{}: cannot be opened", kWho, in);
  }
  return ImportSpool(file);
}

Result<void> ImportSpool::write(const void* bytes, std::size_t size) {
  errno = 0;
  if (std::fwrite(bytes, 1, size, file_.get()) == size) return {};
  return fail(errno_error(errno, std::string(kWho) + folder()));
}

Result<void> ImportSpool::read(void* bytes, std::size_t size) {
  errno = 0;
  if (std::fread(bytes, 1, size, file_.get()) == size) return {};
  return fail(errno_error(errno == 0 ? EIO : errno, std::string(kWho) + folder()));
}

Result<void> ImportSpool::add(const ImportedRequest& request) {
  const auto size_of = [](const std::string& text) { return static_cast<std::uint32_t>(text.size()); };
  const Head head{request.password,     size_of(request.name), size_of(request.client_id), size_of(request.username),
                  size_of(request.json), request.file,          request.mark.line,          request.mark.column,
                  request.wants_key ? 1U : 0U};
  TRY(write(&head, sizeof(head)));
  for (const std::string* text : {&request.name, &request.client_id, &request.username, &request.json}) {
    TRY(write(text->data(), text->size()));
  }
  ++size_;
  return {};
}

Result<void> ImportSpool::rewind() {
  errno = 0;
  if (std::fflush(file_.get()) != 0 || std::fseek(file_.get(), 0, SEEK_SET) != 0) {
    return fail(errno_error(errno, std::string(kWho) + folder()));
  }
  read_ = 0;
  return {};
}

Result<std::optional<ImportedRequest>> ImportSpool::next() {
  if (read_ == size_) return std::nullopt;
  Head head{};
  TRY(read(&head, sizeof(head)));
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
    TRY(read(text->data(), text->size()));
  }
  ++read_;
  return request;
}

}  // namespace fleet::provisioner
