#include "tests/support/tar.hpp"

#include <algorithm>
#include <stdexcept>

#include <archive.h>
#include <archive_entry.h>

namespace fleet::test {
namespace {

struct Entry {
  archive_entry* entry = archive_entry_new();
  ~Entry() { archive_entry_free(entry); }
  explicit Entry(const std::string& path, unsigned type, int mode = 0644, std::int64_t size = 0) {
    archive_entry_set_pathname(entry, path.c_str());
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, static_cast<mode_t>(mode));
    archive_entry_set_size(entry, size);
  }
};

void must(int status, archive* a) {
  if (status < ARCHIVE_WARN) throw std::runtime_error(archive_error_string(a));
}

}  // namespace

Tar::Tar(const std::filesystem::path& path) : archive_(archive_write_new()) {
  archive_write_add_filter_gzip(archive_);
  archive_write_set_format_gnutar(archive_);
  must(archive_write_open_filename(archive_, path.c_str()), archive_);
}

Tar::~Tar() {
  close();
}

void Tar::close() {
  if (archive_ != nullptr) archive_write_free(archive_);
  archive_ = nullptr;
}

Tar& Tar::file(const std::string& path, std::string_view content, int mode) {
  const Entry entry(path, AE_IFREG, mode, static_cast<std::int64_t>(content.size()));
  must(archive_write_header(archive_, entry.entry), archive_);
  archive_write_data(archive_, content.data(), content.size());
  return *this;
}

Tar& Tar::zeros(const std::string& path, std::int64_t size) {
  const Entry entry(path, AE_IFREG, 0644, size);
  must(archive_write_header(archive_, entry.entry), archive_);
  const std::string block(1024 * 1024, '\0');
  for (std::int64_t left = size; left > 0; left -= static_cast<std::int64_t>(block.size())) {
    archive_write_data(archive_, block.data(), static_cast<std::size_t>(std::min<std::int64_t>(left, 1024 * 1024)));
  }
  return *this;
}

Tar& Tar::folder(const std::string& path) {
  const Entry entry(path, AE_IFDIR, 0700);
  must(archive_write_header(archive_, entry.entry), archive_);
  return *this;
}

Tar& Tar::symlink(const std::string& path, const std::string& target) {
  const Entry entry(path, AE_IFLNK, 0777);
  archive_entry_set_symlink(entry.entry, target.c_str());
  must(archive_write_header(archive_, entry.entry), archive_);
  return *this;
}

Tar& Tar::hardlink(const std::string& path, const std::string& target) {
  const Entry entry(path, AE_IFREG);
  archive_entry_set_hardlink(entry.entry, target.c_str());
  must(archive_write_header(archive_, entry.entry), archive_);
  return *this;
}

Tar& Tar::device(const std::string& path) {
  const Entry entry(path, AE_IFCHR, 0666);
  archive_entry_set_rdevmajor(entry.entry, 1);
  archive_entry_set_rdevminor(entry.entry, 3);
  must(archive_write_header(archive_, entry.entry), archive_);
  return *this;
}

Tar& Tar::pipe(const std::string& path) {
  const Entry entry(path, AE_IFIFO);
  must(archive_write_header(archive_, entry.entry), archive_);
  return *this;
}

}  // namespace fleet::test
