// The secrets of a long import: a file that grows with it, and that says after an interruption which secrets are made
// already. Private to provisioner/cli.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/fd.hpp"
#include "core/base/result.hpp"
#include "core/config/csv.hpp"
#include "provisioner/cli/secrets_file.hpp"

namespace fleet::provisioner {

// Form and mode are those of a SecretsFile; rows stand in the order of the requests, and secrets are written before their
// requests are applied: of what an interruption leaves, the last rows may be of requests that are not there yet. They are
// used when the import is run again, so that every request gets the secrets that the file tells.
class SecretsLog {
 public:
  // A file that is not there is made with the first rows. kAlreadyExists for one that holds anything but secrets, or that
  // others may read, and kConflict if another import writes it now.
  static Result<SecretsLog> open(const std::filesystem::path& path);

  // The next row, in the order of the file; nullopt at its end. A row is read once.
  Result<const SecretRow*> peek();
  void skip() { next_.reset(); }
  // Reading begins anew.
  void rewind();
  // Rows in the file by now.
  std::uint64_t rows() const { return rows_; }

  // Written and synced when it returns.
  Result<void> append(const std::vector<SecretRow>& rows);

 private:
  SecretsLog(std::filesystem::path path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Result<void> find_end();
  Result<void> create();

  std::filesystem::path path_;
  Fd fd_;  // none: the file is not there yet
  std::uint64_t size_ = 0;         // of its whole rows
  std::uint64_t rows_ = 0;
  bool torn_ = false;              // there is half a row behind them
  std::uint64_t read_ = 0;
  std::optional<config::CsvReader> reader_;
  std::optional<SecretRow> next_;
};

}  // namespace fleet::provisioner
