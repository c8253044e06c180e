#include "provisioner/store/admission_projection.hpp"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "provisioner/store/columns.hpp"

namespace fleet::provisioner {
namespace {

// No store has this generation: marks a projection that is ahead of, or behind, its store.
constexpr std::int64_t kOutOfDate = -1;
// Only a person with a shell can hold a lock here; devices' messages shall not wait for that.
constexpr Millis kBusyTimeout{250};

bool admits(const AdmissionRow& row) {
  return (row.state == Admission::kOpen || row.state == Admission::kCompleted) && row.opens_ms < row.closes_ms;
}

struct SchemaObject {
  std::string type, name, sql;
  friend bool operator==(const SchemaObject&, const SchemaObject&) = default;
};

Result<std::vector<SchemaObject>> schema_of(sqlite::Database& database) {
  TRY_ASSIGN(sqlite::Statement query,
             database.prepare("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"));
  std::vector<SchemaObject> objects;
  while (true) {
    TRY_ASSIGN(const bool row, query.next());
    if (!row) return objects;
    objects.push_back({query.text(0), query.text(1), query.text(2)});
  }
}

Result<std::vector<SchemaObject>> current_schema() {
  TRY_ASSIGN(sqlite::Database scratch, sqlite::Database::open(":memory:", {}));
  TRY(scratch.execute(kAdmissionSchema));
  return schema_of(scratch);
}

std::string quoted_name(std::string_view name) {
  std::string text = "\"";
  for (const char c : name) text.append(c == '"' ? 2 : 1, c);
  return text + '"';
}

std::array<std::filesystem::path, 3> files_of(const std::filesystem::path& path) {
  return {path, path.string() + "-wal", path.string() + "-shm"};
}

}  // namespace

bool covers(const std::optional<AdmissionRow>& wide, const AdmissionRow& narrow) {
  if (!admits(narrow)) return true;
  return wide && admits(*wide) && wide->username == narrow.username && wide->verifier == narrow.verifier &&
         wide->opens_ms <= narrow.opens_ms && wide->closes_ms >= narrow.closes_ms;
}

Result<std::unique_ptr<AdmissionProjection>> AdmissionProjection::open(const StoreSettings& settings) {
  std::unique_ptr<AdmissionProjection> projection(new AdmissionProjection(settings));
  auto opened = projection->open_file();
  if (!opened && opened.error().code == ErrorCode::kCorrupt) {
    log::warn("store", "the admission projection is no database; replacing it", {{"error", opened.error().message}});
    opened = projection->replace_file();
  }
  if (!opened) return fail(std::move(opened).error());
  return projection;
}

Result<void> AdmissionProjection::open_file() {
  statements_.reset();
  database_.reset();
  const sqlite::Database::Options options{
      .mode = settings_.admission_mode, .persist_wal = true, .durable = false, .busy_timeout = kBusyTimeout};
  TRY_ASSIGN(sqlite::Database database, sqlite::Database::open(settings_.admission, options));
  database_.emplace(std::move(database));
  statements_.emplace(*database_);
  // A reader under another user needs all three files; the first access in WAL mode makes the last two.
  TRY(database_->execute("BEGIN IMMEDIATE; COMMIT"));
  return share_files();
}

Result<void> AdmissionProjection::replace_file() {
  statements_.reset();
  database_.reset();
  for (const std::filesystem::path& file : files_of(settings_.admission)) TRY(fleet::remove_all(file));
  return open_file();
}

Result<void> AdmissionProjection::share_files() const {
  if (!settings_.share_admission) return {};
  for (const std::filesystem::path& file : files_of(settings_.admission)) TRY(settings_.share_admission(file));
  return {};
}

Result<bool> AdmissionProjection::is_whole() {
  TRY_ASSIGN(const std::vector<SchemaObject> expected, current_schema());
  TRY_ASSIGN(const std::vector<SchemaObject> found, schema_of(*database_));
  if (found != expected) return false;
  TRY_ASSIGN(sqlite::Statement check, database_->prepare("PRAGMA quick_check(1)"));
  TRY_ASSIGN(const bool row, check.next());
  return row && check.text(0) == "ok";
}

Result<std::int64_t> AdmissionProjection::generation() {
  TRY_ASSIGN(const auto query, statements_->use("SELECT value FROM meta WHERE key = 'generation'"));
  TRY_ASSIGN(const bool row, query->next());
  return row ? query->integer(0) : kOutOfDate;
}

bool AdmissionProjection::is_at(std::int64_t wanted) {
  return current_generation() == wanted;
}

std::optional<std::int64_t> AdmissionProjection::current_generation() {
  const Result<bool> whole = is_whole();
  if (!whole || !*whole) return std::nullopt;
  const Result<std::int64_t> found = generation();
  return found && *found != kOutOfDate ? std::optional(*found) : std::nullopt;
}

Result<void> AdmissionProjection::in_transaction(const std::function<Result<void>()>& work) {
  TRY(database_->execute("BEGIN IMMEDIATE"));
  Result<void> done = work();
  if (done) done = database_->execute("COMMIT");
  if (!done && database_->in_transaction()) {
    if (auto undone = database_->execute("ROLLBACK"); !undone) {
      log::error("store", "cannot roll back the admission projection", {{"error", undone.error().message}});
    }
  }
  return done;
}

// Read in one transaction, or each row would take a lock of the file and give it back. It takes none that a writer has.
Result<WantedRows> AdmissionProjection::closings_among(const WantedRows& rows) {
  const auto look = [&]() -> Result<WantedRows> {
    WantedRows closings;
    for (const auto& [client_id, wanted] : rows) {
      TRY_ASSIGN(const std::optional<AdmissionRow> current, row_of(client_id));
      if (!current || covers(wanted, *current)) continue;
      // A row that only narrows can be written at once; one that also admits something new waits for the commit.
      const bool only_narrows = wanted && covers(current, *wanted);
      closings[client_id] = only_narrows ? wanted : std::nullopt;
    }
    return closings;
  };
  TRY(database_->execute("BEGIN"));
  Result<WantedRows> closings = look();
  // SQLite may have ended it by itself, over a damaged file
  if (!database_->in_transaction()) return closings;
  if (auto ended = database_->execute("ROLLBACK"); !ended && closings) return fail(std::move(ended).error());
  return closings;
}

Result<bool> AdmissionProjection::close_before(const WantedRows& rows) {
  TRY_ASSIGN(const WantedRows closings, closings_among(rows));
  if (closings.empty()) return false;
  TRY(settle(closings, kOutOfDate));
  return true;
}

Result<void> AdmissionProjection::settle(const WantedRows& rows, std::int64_t generation) {
  return in_transaction([&]() -> Result<void> {
    for (const auto& [client_id, wanted] : rows) {
      TRY(wanted ? write_row(*wanted) : erase_row(client_id));
    }
    return write_generation(generation);
  });
}

Result<void> AdmissionProjection::rebuild(const AllRows& all, std::int64_t generation) {
  const auto rebuilt = rebuild_in_place(all, generation);
  if (rebuilt || rebuilt.error().code != ErrorCode::kCorrupt) return rebuilt;
  log::warn("store", "the admission projection is damaged; replacing it", {{"error", rebuilt.error().message}});
  TRY(replace_file());
  return rebuild_in_place(all, generation);
}

Result<void> AdmissionProjection::rebuild_in_place(const AllRows& all, std::int64_t generation) {
  // Prepared statements would keep the tables from being dropped.
  statements_->clear();
  return in_transaction([&]() -> Result<void> {
    TRY_ASSIGN(const std::vector<SchemaObject> objects, schema_of(*database_));
    for (const SchemaObject& object : objects) {
      // Indexes and triggers go with their tables.
      if (object.type != "table" && object.type != "view") continue;
      TRY(database_->execute(fmt::format("DROP {} {}", object.type, quoted_name(object.name))));
    }
    TRY(database_->execute(kAdmissionSchema));
    TRY(all([&](const AdmissionRow& row) { return write_row(row); }));
    return write_generation(generation);
  });
}

Result<std::optional<AdmissionRow>> AdmissionProjection::row_of(const std::string& client_id) {
  TRY_ASSIGN(const auto query, statements_->use("SELECT client_id, username, verifier, state, opens_ms, closes_ms "
                                                "FROM device WHERE client_id = ?1"));
  query->bind(1, client_id);
  TRY_ASSIGN(const bool found, query->next());
  if (!found) return std::optional<AdmissionRow>();
  RowReader row(*query);
  AdmissionRow value;
  value.client_id = row.text();
  value.username = row.text();
  value.verifier = row.blob();
  value.state = static_cast<Admission>(row.small());
  value.opens_ms = row.integer();
  value.closes_ms = row.integer();
  return std::optional(std::move(value));
}

// A row that is so already stays as it is: no page of the file changes for it.
Result<void> AdmissionProjection::write_row(const AdmissionRow& row) {
  TRY_ASSIGN(const auto change,
             statements_->use("INSERT INTO device (client_id, username, verifier, state, opens_ms, closes_ms) "
                              "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (client_id) DO UPDATE SET username = ?2, "
                              "verifier = ?3, state = ?4, opens_ms = ?5, closes_ms = ?6 WHERE username <> ?2 OR "
                              "verifier <> ?3 OR state <> ?4 OR opens_ms <> ?5 OR closes_ms <> ?6"));
  Binder(*change)
      .text(row.client_id)
      .text(row.username)
      .blob(row.verifier)
      .integer(static_cast<std::int64_t>(row.state))
      .integer(row.opens_ms)
      .integer(row.closes_ms);
  return change->run();
}

Result<void> AdmissionProjection::erase_row(const std::string& client_id) {
  TRY_ASSIGN(const auto change, statements_->use("DELETE FROM device WHERE client_id = ?1"));
  change->bind(1, client_id);
  return change->run();
}

Result<void> AdmissionProjection::write_generation(std::int64_t generation) {
  TRY_ASSIGN(const auto change, statements_->use("INSERT INTO meta (key, value) VALUES ('generation', ?1) "
                                                 "ON CONFLICT (key) DO UPDATE SET value = ?1"));
  change->bind(1, generation);
  return change->run();
}

}  // namespace fleet::provisioner
