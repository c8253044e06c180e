// Writes the admission projection (provisioner/admission/admission.hpp) for the plugin, in an order that never admits a
// device that the store would refuse.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/base/result.hpp"
#include "provisioner/provisioning/model.hpp"
#include "provisioner/store/sqlite.hpp"
#include "provisioner/store/statement_cache.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// Rows as they should be, by client id; nullopt: no row.
using WantedRows = std::map<std::string, std::optional<AdmissionRow>>;
// Calls its argument with every row that there should be.
using AllRows = std::function<Result<void>(const std::function<Result<void>(const AdmissionRow&)>&)>;

// True if whoever `narrow` admits, `wide` admits too, at any time.
bool covers(const std::optional<AdmissionRow>& wide, const AdmissionRow& narrow);

// Not thread-safe. After close_before() the projection counts as out of date until settle() or rebuild().
class AdmissionProjection {
 public:
  // Opens or creates the file; one that is no database at all is replaced. Keeps `settings`' path, mode and share.
  static Result<std::unique_ptr<AdmissionProjection>> open(const StoreSettings& settings);

  // True if the file is whole, has today's schema, and holds this generation.
  bool is_at(std::int64_t generation);
  // The generation that it holds, if it is whole and has today's schema, and is not out of date.
  std::optional<std::int64_t> current_generation();

  // Before the store's commit: takes away whatever these rows no longer admit. True if there was anything.
  Result<bool> close_before(const WantedRows& rows);
  // After the store's commit (or its failure): makes these rows what they should be.
  Result<void> settle(const WantedRows& rows, std::int64_t generation);
  // Makes the whole projection anew, in place and in one transaction, so that the plugin's open handle sees the old
  // rows or the new ones. Only a file too damaged for that is replaced.
  Result<void> rebuild(const AllRows& all, std::int64_t generation);

 private:
  explicit AdmissionProjection(const StoreSettings& settings) : settings_(settings) {}

  Result<void> open_file();
  Result<void> replace_file();
  Result<void> share_files() const;
  Result<bool> is_whole();
  Result<std::int64_t> generation();
  Result<void> rebuild_in_place(const AllRows& all, std::int64_t generation);

  Result<WantedRows> closings_among(const WantedRows& rows);
  Result<std::optional<AdmissionRow>> row_of(const std::string& client_id);
  Result<void> write_row(const AdmissionRow& row);
  Result<void> erase_row(const std::string& client_id);
  Result<void> write_generation(std::int64_t generation);
  Result<void> in_transaction(const std::function<Result<void>()>& work);

  StoreSettings settings_;
  std::optional<sqlite::Database> database_;
  std::optional<sqlite::StatementCache> statements_;  // goes before its database
};

}  // namespace fleet::provisioner
