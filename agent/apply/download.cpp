#include "agent/apply/download.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <thread>
#include <unistd.h>

#include <curl/curl.h>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "core/crypto/tls.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

constexpr long kMaxRedirects = 5;
constexpr long kLowSpeed = 64;  // bytes a second
constexpr Millis kCancelPoll{100};

struct CurlDeleter {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using CurlHandle = std::unique_ptr<CURL, CurlDeleter>;

Error no_space(const fs::path& file) {
  return errno_error(ENOSPC, file.string());
}

Result<std::uint64_t> size_of(int fd, const fs::path& file) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail(errno_error(errno, file.string()));
  return static_cast<std::uint64_t>(status.st_size);
}

// --- one try

// What the callbacks of one transfer share. They run inside curl_easy_perform, so an error is kept for after it.
struct Transfer {
  CURL* curl = nullptr;
  const DownloadSource& source;
  const DownloadLimits& limits;
  const DownloadProgress& progress;
  const fs::path& part;
  int fd = -1;
  std::uint64_t have = 0;                    // bytes in the part
  std::uint64_t fresh = 0;                   // of them from this try
  std::uint64_t total = 0;                   // of the whole file, 0: unknown
  bool accepted = false;                     // the answer to this try is one that brings the file
  std::optional<std::uint64_t> range_start;  // of Content-Range
  std::optional<Error> error;

  bool give_up(Error why) {
    if (!error) error = std::move(why);
    return false;
  }
  bool start_over() {
    if (::ftruncate(fd, 0) != 0 || ::lseek(fd, 0, SEEK_SET) != 0) return give_up(errno_error(errno, part.string()));
    have = 0;
    return true;
  }

  // The first byte of a body: is it one of the file, and where does it belong?
  bool accept() {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    const bool is_file = code == 0;                           // file:
    if (!is_file && code != 200 && code != 206) return true;  // judged when the transfer has ended; the body is dropped
    if (code == 206 && range_start != have) {
      return give_up({ErrorCode::kUnavailable, "the server sent another range than it was asked for"});
    }
    if (code != 206 && have > 0 && !start_over()) return false;
    curl_off_t length = -1;
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length > 0) total = have + static_cast<std::uint64_t>(length);
    if (total > limits.max_size) {
      return give_up(too_large(limits));
    }
    accepted = true;
    return true;
  }

  bool write(std::string_view bytes) {
    if (!accepted && !accept()) return false;
    if (!accepted) return true;
    if (have + bytes.size() > limits.max_size) {
      return give_up(too_large(limits));
    }
    struct statvfs disk {};
    if (::fstatvfs(fd, &disk) == 0 &&
        std::uint64_t{disk.f_bavail} * disk.f_frsize < limits.disk_reserve + bytes.size()) {
      return give_up(no_space(part));
    }
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return give_up(errno_error(errno, part.string()));
      bytes.remove_prefix(static_cast<std::size_t>(written));
      have += static_cast<std::uint64_t>(written);
      fresh += static_cast<std::uint64_t>(written);
    }
    return true;
  }

  // "Content-Range: bytes 100-199/200"; a new answer (of a redirect) forgets the last one's.
  void header(std::string_view line) {
    if (line.starts_with("HTTP/")) range_start.reset();
    constexpr std::string_view kName = "content-range:";
    if (line.size() < kName.size() || !std::equal(kName.begin(), kName.end(), line.begin(), [](char name, char c) {
          return name == (c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
        })) {
      return;
    }
    line.remove_prefix(std::min(line.find("bytes"), line.size()));
    line.remove_prefix(std::min(line.find_first_of("0123456789"), line.size()));
    std::uint64_t start = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), start).ec == std::errc()) range_start = start;
  }
};

std::size_t on_body(char* data, std::size_t, std::size_t size, void* transfer) noexcept {
  try {
    return static_cast<Transfer*>(transfer)->write({data, size}) ? size : 0;
  } catch (...) {
    return 0;
  }
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* transfer) noexcept {
  static_cast<Transfer*>(transfer)->header({data, size});
  return size;
}

int on_progress(void* transfer, curl_off_t, curl_off_t, curl_off_t, curl_off_t) noexcept {
  try {
    const auto& t = *static_cast<Transfer*>(transfer);
    return t.progress(t.have, t.total) ? 0 : 1;
  } catch (...) {
    return 1;
  }
}

CURLcode on_tls(CURL*, void* context, void* transfer) noexcept {
  try {
    const auto& t = *static_cast<Transfer*>(transfer);
    const auto added = crypto::add_trust(static_cast<ssl_ctx_st*>(context), t.source.roots, t.source.verification_time);
    return added ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
  } catch (...) {
    return CURLE_OUT_OF_MEMORY;
  }
}

void set_options(Transfer& transfer, char* error_text, const std::string& range, Millis time_left) {
  CURL* const curl = transfer.curl;
  const char* const protocols = transfer.source.allow_file ? "http,https,file" : "http,https";
  curl_easy_setopt(curl, CURLOPT_URL, transfer.source.uri.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kMaxRedirects);
  curl_easy_setopt(curl, CURLOPT_UNRESTRICTED_AUTH, 0L);  // no credentials across hosts
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);  // a cancellation does not wait for a name server
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "provision-agent/" FLEET_VERSION);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
  if (!range.empty()) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());

  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(transfer.limits.connect.count()));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(time_left.count()));
  const auto stall = std::chrono::ceil<Seconds>(transfer.limits.stall);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kLowSpeed);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall.count()));

  curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_tls);
  curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
}

Result<void> judge_status(long code) {
  if (code == 0 || code == 200 || code == 206) return {};
  const std::string text = fmt::format("the server answered {}", code);
  if (code == 401 || code == 403) return fail(ErrorCode::kPermissionDenied, "{}", text);
  if (code == 404 || code == 410) return fail(ErrorCode::kNotFound, "{}", text);
  if (code == 408 || code == 429 || code >= 500) return fail(ErrorCode::kUnavailable, "{}", text);
  return fail(ErrorCode::kInvalidArgument, "{}", text);
}

ErrorCode kind_of(CURLcode code) {
  switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
      return ErrorCode::kInvalidArgument;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return ErrorCode::kUnauthenticated;
    case CURLE_FILE_COULDNT_READ_FILE:
      return ErrorCode::kNotFound;
    case CURLE_OPERATION_TIMEDOUT:
      return ErrorCode::kTimedOut;
    default:
      return ErrorCode::kUnavailable;
  }
}

// One try; what it has brought is in the part.
Result<void> transfer_once(Transfer& transfer, Millis time_left) {
  const CurlHandle curl(curl_easy_init());
  if (!curl) return fail(ErrorCode::kInternal, "libcurl cannot be used");
  transfer.curl = curl.get();
  transfer.fresh = 0;
  transfer.accepted = false;
  transfer.error.reset();
  const bool is_file = transfer.source.uri.starts_with("file:");
  if (is_file && !transfer.start_over()) return fail(*transfer.error);
  char error_text[CURL_ERROR_SIZE] = "";
  const std::string range = transfer.have > 0 ? fmt::format("{}-", transfer.have) : std::string();
  set_options(transfer, error_text, range, time_left);

  const CURLcode code = curl_easy_perform(curl.get());
  std::string tls_reason = crypto::take_openssl_errors();
  if (transfer.error) return fail(*transfer.error);
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  // The part is the whole file already, or has nothing to do with it: its hash will tell.
  if (status == 416 && transfer.have > 0) return {};
  if (code == CURLE_OK) {
    // a body of no bytes never got as far as accept()
    if (!transfer.accepted && (status == 200 || status == 0) && !transfer.start_over()) return fail(*transfer.error);
    return judge_status(status);
  }
  if (code == CURLE_ABORTED_BY_CALLBACK) return fail(ErrorCode::kUnavailable, "cancelled");
  if (code == CURLE_UNSUPPORTED_PROTOCOL) {
    return fail(ErrorCode::kInvalidArgument, "only http and https are fetched{}: {}",
                transfer.source.allow_file ? ", and file" : "", error_text);
  }
  std::string why = error_text[0] != '\0' ? error_text : curl_easy_strerror(code);
  const ErrorCode kind = kind_of(code);
  if (kind == ErrorCode::kUnauthenticated && tls_reason.starts_with("certificate '")) why += " (" + tls_reason + ")";
  return fail(Error{kind, std::move(why)});
}

// --- all tries

bool passes(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimedOut;
}

// Whether what has arrived is of no use to a later download, or costs the room that the state needs.
bool spoils_part(const Error& error) {
  return error.code == ErrorCode::kMalformed || error.code == ErrorCode::kLimitExceeded ||
         error.code == ErrorCode::kNoSpace;
}

class Download {
 public:
  Download(const DownloadSource& source, const fs::path& file, const DownloadLimits& limits,
           const DownloadProgress& progress)
      : source_(source), file_(file), part_(file.string() + ".part"), limits_(limits), progress_(progress) {}

  Result<void> run() {
    const Fd fd(::open(part_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_APPEND, kPrivateFile));
    if (!fd) return fail(errno_error(errno, part_.string()));
    Transfer transfer{nullptr, source_, limits_, progress_, part_, fd.get(), 0, 0, 0, false, {}, {}};
    TRY_ASSIGN(transfer.have, size_of(fd.get(), part_));
    auto fetched = fetch(transfer);
    if (!fetched) {
      if (spoils_part(fetched.error())) static_cast<void>(fleet::remove_all(part_).has_value());
      return fetched;
    }
    if (::fsync(fd.get()) != 0) return fail(errno_error(errno, part_.string()));
    if (::rename(part_.c_str(), file_.c_str()) != 0) return fail(errno_error(errno, file_.string()));
    return sync_folder(file_.parent_path());
  }

 private:
  // The whole file with the right hash. What was resumed and turns out wrong is fetched once more from its beginning:
  // the file may have changed on the server.
  Result<void> fetch(Transfer& transfer) {
    const bool resumed = transfer.have > 0;
    TRY(fetch_bytes(transfer));
    auto right = check_hash();
    if (right || !resumed) return right;
    if (!transfer.start_over()) return fail(*transfer.error);
    TRY(fetch_bytes(transfer));
    return check_hash();
  }

  Result<void> fetch_bytes(Transfer& transfer) {
    Millis pause = limits_.first_pause;
    for (int barren = 0;;) {
      const Millis left = time_left();
      if (left <= Millis(0)) return fail(ErrorCode::kTimedOut, "took longer than {}", format_duration(limits_.total));
      auto done = transfer_once(transfer, left);
      if (done || !passes(done.error())) return done;
      if (!progress_(transfer.have, transfer.total)) return fail(ErrorCode::kUnavailable, "cancelled");
      if (transfer.fresh > 0) {
        barren = 0;
        pause = limits_.first_pause;
      } else if (++barren >= limits_.barren_tries) {
        return done;
      }
      TRY(wait(transfer, pause));
      pause *= 2;
    }
  }

  Result<void> wait(const Transfer& transfer, Millis pause) const {
    const auto end = std::chrono::steady_clock::now() + pause;
    while (std::chrono::steady_clock::now() < end) {
      if (!progress_(transfer.have, transfer.total)) return fail(ErrorCode::kUnavailable, "cancelled");
      std::this_thread::sleep_for(kCancelPoll);
    }
    return {};
  }

  Millis time_left() const {
    return limits_.total - std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begin_);
  }

  Result<void> check_hash() const {
    TRY_ASSIGN(const std::string hash, sha256_of_file(part_));
    if (hash == source_.sha256) return {};
    return fail(ErrorCode::kMalformed, "its SHA-256 is {}, not {}", hash, source_.sha256);
  }

  const DownloadSource& source_;
  const fs::path& file_;
  fs::path part_;
  const DownloadLimits& limits_;
  const DownloadProgress& progress_;
  SteadyTime begin_ = std::chrono::steady_clock::now();
};

// For an error text: without credentials and without the query, which may be a signature.
std::string shown(std::string_view uri) {
  uri = uri.substr(0, uri.find_first_of("?#"));
  const std::size_t authority = uri.find("://");
  if (authority == std::string_view::npos) return std::string(uri);
  const std::size_t host = authority + 3;
  const std::size_t end = std::min(uri.find('/', host), uri.size());
  const std::size_t at = uri.substr(0, end).rfind('@');
  if (at == std::string_view::npos || at < host) return std::string(uri);
  return std::string(uri.substr(0, host)) + std::string(uri.substr(at + 1));
}

}  // namespace

Result<void> download(const DownloadSource& source, const fs::path& file, const DownloadLimits& limits,
                      const DownloadProgress& progress) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) return fail(ErrorCode::kInternal, "libcurl cannot be used");
  TRY(make_folder(file.parent_path()));
  auto fetched = Download(source, file, limits, progress).run();
  if (!fetched) return fail(with_context(fetched.error(), shown(source.uri)));
  return fetched;
}

Result<std::string> sha256_of_file(const fs::path& file) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail(errno_error(errno, file.string()));
  crypto::Sha256 hash;
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(errno, file.string()));
    if (got == 0) return to_hex(hash.finish());
    hash.update({buffer.data(), static_cast<std::size_t>(got)});
  }
}

}  // namespace fleet::agent
