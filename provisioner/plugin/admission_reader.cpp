#include "provisioner/plugin/admission_reader.hpp"

#include <sched.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "core/base/secret.hpp"

namespace fleet::provisioner::plugin {
namespace {

constexpr std::string_view kUnknown = "unknown";
constexpr std::string_view kWrongCredentials = "wrong-credentials";
constexpr Seconds kReopenPause{1};
// A writer that was interrupted between the few stores that belong together is back within a time slice.
constexpr Millis kPatience{5};

// SQLite's pointer is good until the next call on the statement.
std::string column_bytes(sqlite3_stmt* statement, int column) {
  const void* const bytes = sqlite3_column_blob(statement, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement, column));
  return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

// Ends the read transaction whatever happens: an open one would keep the writer from checkpointing.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(sqlite3_stmt* statement) : statement_(statement) {}
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;
  ~ResetAtEnd() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }

 private:
  sqlite3_stmt* statement_;
};

// Also READONLY: it is what SQLite makes of a writer that it meets where it begins its log anew, or in the middle of a
// header, if it may not write to the index itself (to set a mark, or to repair). Not PROTOCOL: that is what remains when it has
// tried a hundred times by itself, for up to ten seconds.
bool worth_another_try(int result) {
  const int primary = result & 0xff;
  return primary == SQLITE_BUSY || primary == SQLITE_SCHEMA || primary == SQLITE_READONLY;
}

// Calls `attempt` until its result is not worth another try, or `patience` is over; at least twice, and once after that
// time, which somebody else may have taken.
template <typename Attempt>
int with_patience(Millis patience, Attempt attempt) {
  int result = attempt();
  if (!worth_another_try(result)) return result;
  const auto until = std::chrono::steady_clock::now() + patience;
  for (bool over = false; !over && worth_another_try(result);) {
    ::sched_yield();
    over = std::chrono::steady_clock::now() >= until;
    result = attempt();
  }
  return result;
}

}  // namespace

bool is_guess(std::string_view reason) {
  return reason == kUnknown || reason == kWrongCredentials;
}

std::optional<std::string_view> refusal(const AdmissionRow* row, std::string_view username, std::string_view verifier,
                                        std::int64_t now_ms) {
  static const AdmissionRow nobody{"", Bytes(32, '\0'), Admission::kDisabled, 0, 0};
  const AdmissionRow& known = row != nullptr ? *row : nobody;
  const bool username_fits = constant_time_equal(known.username, username);
  const bool verifier_fits = constant_time_equal(known.verifier, verifier);
  if (row == nullptr) return kUnknown;
  if (!username_fits || !verifier_fits) return kWrongCredentials;
  switch (row->state) {
    case Admission::kOpen:
      if (now_ms < row->opens_ms) return "not-yet-active";
      if (now_ms >= row->closes_ms) return "expired";
      return std::nullopt;
    case Admission::kCompleted:
      if (now_ms < row->opens_ms || now_ms >= row->closes_ms) return "completed";
      return std::nullopt;
    case Admission::kDisabled:
      return "disabled";
    case Admission::kAbandoned:
      return "abandoned";
  }
  return "unavailable";
}

void AdmissionReader::CloseDatabase::operator()(sqlite3* database) const {
  sqlite3_close_v2(database);
}
void AdmissionReader::FinalizeStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

AdmissionReader::AdmissionReader(std::string path, std::string_view lookup) : path_(std::move(path)), query_(lookup) {}

AdmissionReader::FileIdentity AdmissionReader::identity() const {
  struct stat info {};
  if (::stat(path_.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino};
}

void AdmissionReader::close() {
  broken_ = false;
  patient_ = true;
  lookup_.reset();
  database_.reset();
}

// A handle that is there stays if the new one only fails because a writer is at work: it may be as good.
Result<void> AdmissionReader::open(SteadyTime now) {
  checked_ = now;
  const FileIdentity found = identity();
  sqlite3* opened = nullptr;
  int result = sqlite3_open_v2(path_.c_str(), &opened, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<sqlite3, CloseDatabase> database(opened);
  sqlite3_stmt* statement = nullptr;
  if (result == SQLITE_OK) {
    sqlite3_extended_result_codes(opened, 1);
    sqlite3_busy_timeout(opened, 0);
    result = with_patience(kPatience, [&] {
      return sqlite3_prepare_v3(opened, query_.data(), static_cast<int>(query_.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    });
  }
  if (result != SQLITE_OK) {
    if (!lookup_ || broken_ || found != identity_ || !worth_another_try(result)) close();
    return fail(ErrorCode::kUnavailable, "admission database {}: {} ({})", path_,
                opened != nullptr ? sqlite3_errmsg(opened) : sqlite3_errstr(result), result);
  }
  close();
  identity_ = found;
  database_ = std::move(database);
  lookup_.reset(statement);
  return {};
}

Result<void> AdmissionReader::reopen_if_due(SteadyTime now) {
  if (now - checked_ < kReopenPause) {
    if (lookup_ && !broken_) return {};
    return fail(ErrorCode::kUnavailable, "admission database {}: closed after a failure", path_);
  }
  checked_ = now;
  if (lookup_ && !broken_ && patient_ && identity() == identity_) return {};
  const auto opened = open(now);
  return opened || lookup_ ? Result<void>() : opened;
}

Result<std::optional<AdmissionRow>> AdmissionReader::find(std::string_view client_id, SteadyTime now) {
  TRY(reopen_if_due(now));
  const auto begun = std::chrono::steady_clock::now();
  auto row = query(client_id);
  // if SQLite itself has waited for long, the pause comes after that
  if (const auto took = std::chrono::steady_clock::now() - begun; broken_ && took > kReopenPause) checked_ = now + took;
  return row;
}

int AdmissionReader::step() {
  const int result = with_patience(patient_ ? kPatience : Millis(0), [this] {
    sqlite3_reset(lookup_.get());
    return sqlite3_step(lookup_.get());
  });
  patient_ = !worth_another_try(result);
  return result;
}

Result<std::optional<AdmissionRow>> AdmissionReader::query(std::string_view client_id) {
  const ResetAtEnd reset(lookup_.get());
  sqlite3_bind_text(lookup_.get(), 1, client_id.data(), static_cast<int>(client_id.size()), SQLITE_STATIC);
  const int result = step();
  if (result == SQLITE_DONE) return std::optional<AdmissionRow>();
  if (result != SQLITE_ROW) {
    Error error{ErrorCode::kUnavailable, fmt::format("admission database {}: {} ({})", path_,
                                                     sqlite3_errmsg(database_.get()), result)};
    broken_ = !worth_another_try(result);
    return fail(std::move(error));
  }
  AdmissionRow row;
  row.username = column_bytes(lookup_.get(), 0);
  row.verifier = column_bytes(lookup_.get(), 1);
  const int state = sqlite3_column_int(lookup_.get(), 2);
  row.opens_ms = sqlite3_column_int64(lookup_.get(), 3);
  row.closes_ms = sqlite3_column_int64(lookup_.get(), 4);
  if (row.verifier.size() != 32 || state < 0 || state > static_cast<int>(Admission::kCompleted)) {
    return fail(ErrorCode::kUnavailable, "admission database {}: a row does not have its form", path_);
  }
  row.state = static_cast<Admission>(state);
  return std::optional<AdmissionRow>(std::move(row));
}

}  // namespace fleet::provisioner::plugin
