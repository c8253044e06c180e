#include "provisioner/store/sqlite.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <utility>

#include <sqlite3.h>

#include "core/base/fd.hpp"

namespace fleet::provisioner::sqlite {
namespace {

constexpr std::string_view kMemory = ":memory:";
constexpr std::string_view kUniqueFailed = "UNIQUE constraint failed: ";

std::string path_of(sqlite3* handle) {
  const char* const path = handle == nullptr ? nullptr : sqlite3_db_filename(handle, "main");
  return path == nullptr || *path == '\0' ? std::string(kMemory) : path;
}

// A file that may not grow is a full disk to us, whatever it is that stops it.
bool is_no_space(int error_number) {
  return error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG;
}

ErrorCode code_of(int result, int error_number) {
  switch (result & 0xff) {
    case SQLITE_FULL:
      return ErrorCode::kNoSpace;
    case SQLITE_CONSTRAINT:
      return result == SQLITE_CONSTRAINT_UNIQUE || result == SQLITE_CONSTRAINT_PRIMARYKEY ? ErrorCode::kAlreadyExists
                                                                                          : ErrorCode::kInvalidArgument;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::kCorrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kUnavailable;
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return ErrorCode::kPermissionDenied;
    case SQLITE_TOOBIG:
      return ErrorCode::kLimitExceeded;
    case SQLITE_CANTOPEN:
      return error_number == 0 ? ErrorCode::kIo : errno_error(error_number, "").code;
    case SQLITE_IOERR:
      return is_no_space(error_number) ? ErrorCode::kNoSpace : ErrorCode::kIo;
    default:
      return ErrorCode::kInternal;
  }
}

// `error_number`: errno right after the call, which was 0 before it; SQLite keeps its own copy only on some paths.
Error error_of(sqlite3* handle, int result, int error_number) {
  const int kept = sqlite3_system_errno(handle);
  const ErrorCode code = code_of(result, kept != 0 ? kept : error_number);
  const std::string_view what = sqlite3_errmsg(handle);
  if (code == ErrorCode::kAlreadyExists && what.starts_with(kUniqueFailed)) {
    return Error{code, fmt::format("{}: {}: already taken", path_of(handle), what.substr(kUniqueFailed.size()))};
  }
  return Error{code, fmt::format("{}: {}", path_of(handle), what)};
}

// The statistics that SQLite would keep of its memory, which nobody reads, cost a mutex at each allocation. Only before its first
// use can it be told so; later it refuses, and nothing is lost but time.
void keep_no_memory_statistics() {
  [[maybe_unused]] static const int once = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

// The file must have its mode from its first moment, and SQLite gives -wal and -shm the mode of the file.
Result<void> create_with_mode(const std::filesystem::path& path, mode_t mode) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) {
    if (errno == EEXIST) return {};
    return fail(errno_error(errno, path.string()));
  }
  if (::fchmod(fd.get(), mode) != 0) return fail(errno_error(errno, path.string()));
  return {};
}

Result<void> correct_modes(const std::filesystem::path& path, mode_t mode) {
  for (const std::string_view suffix : {"", "-wal", "-shm"}) {
    const std::string name = path.string() + std::string(suffix);
    struct stat info {};
    if (::stat(name.c_str(), &info) != 0 || (info.st_mode & 07777) == mode) continue;
    if (::chmod(name.c_str(), mode) != 0) return fail(errno_error(errno, name));
  }
  return {};
}

}  // namespace

Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), bind_result_(other.bind_result_), used_(other.used_) {}

Statement& Statement::note_bind(int result) {
  if (bind_result_ == SQLITE_OK) bind_result_ = result;
  used_ = true;
  return *this;
}

Statement& Statement::bind(int index, std::int64_t value) {
  return note_bind(sqlite3_bind_int64(statement_, index, value));
}

Statement& Statement::bind(int index, std::string_view text) {
  // A view without data would bind NULL.
  const char* const data = text.data() == nullptr ? "" : text.data();
  return note_bind(sqlite3_bind_text64(statement_, index, data, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

Statement& Statement::bind_blob(int index, std::string_view bytes) {
  const char* const data = bytes.data() == nullptr ? "" : bytes.data();
  return note_bind(sqlite3_bind_blob64(statement_, index, data, bytes.size(), SQLITE_TRANSIENT));
}

Statement& Statement::bind_null(int index) {
  return note_bind(sqlite3_bind_null(statement_, index));
}

Result<void> Statement::run() {
  while (true) {
    TRY_ASSIGN(const bool row, next());
    if (!row) return {};
  }
}

Result<bool> Statement::next() {
  used_ = true;
  errno = 0;
  const int result = bind_result_ != SQLITE_OK ? bind_result_ : sqlite3_step(statement_);
  const int error_number = errno;
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) {
    reset();
    return false;
  }
  Error error = error_of(sqlite3_db_handle(statement_), result, error_number);
  reset();
  return fail(std::move(error));
}

void Statement::reset() {
  if (!std::exchange(used_, false)) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  bind_result_ = SQLITE_OK;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Statement::text(int column) const {
  // The text must be asked for before its size.
  const void* const data = sqlite3_column_text(statement_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

Bytes Statement::blob(int column) const {
  const void* const data = sqlite3_column_blob(statement_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data == nullptr ? Bytes() : Bytes(static_cast<const char*>(data), size);
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Result<Database> Database::open(const std::filesystem::path& path, const Options& options) {
  keep_no_memory_statistics();
  const auto mode = static_cast<mode_t>(options.mode);
  const bool owns_file = !options.read_only && path != kMemory;
  if (owns_file) {
    if (options.create) TRY(create_with_mode(path, mode));
    TRY(correct_modes(path, mode));
  }
  sqlite3* handle = nullptr;
  const int flags = (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
  const int result = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Database database(handle);
  if (handle == nullptr) return fail(ErrorCode::kInternal, "{}: no memory to open it", path.string());
  if (result != SQLITE_OK) {
    const int error_number = sqlite3_system_errno(handle);
    return fail(code_of(result, error_number), "{}: {}", path.string(), sqlite3_errmsg(handle));
  }
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_busy_timeout(handle, static_cast<int>(options.busy_timeout.count()));
  if (options.persist_wal) {
    int on = 1;
    sqlite3_file_control(handle, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
  }
  if (!options.read_only) {
    TRY(database.execute("PRAGMA journal_mode = WAL; PRAGMA journal_size_limit = 67108864"));
    TRY(database.execute(options.durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
  }
  TRY(database.execute("PRAGMA foreign_keys = ON"));
  return database;
}

Database::~Database() {
  sqlite3_close_v2(handle_);
}

Database::Database(Database&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

Result<void> Database::execute(std::string_view sql) {
  errno = 0;
  const int result = sqlite3_exec(handle_, std::string(sql).c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return fail(error_of(handle_, result, errno));
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  errno = 0;
  const int result = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                        &statement, nullptr);
  if (result != SQLITE_OK) return fail(error_of(handle_, result, errno));
  return Statement(statement);
}

std::int64_t Database::last_insert_id() const {
  return sqlite3_last_insert_rowid(handle_);
}

int Database::changes() const {
  return sqlite3_changes(handle_);
}

std::int64_t Database::total_changes() const {
  return sqlite3_total_changes64(handle_);
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(handle_) == 0;
}

std::string Database::path() const {
  return path_of(handle_);
}

}  // namespace fleet::provisioner::sqlite
