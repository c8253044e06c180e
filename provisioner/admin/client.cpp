#include "provisioner/admin/client.hpp"

#include <optional>
#include <sys/un.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace fleet::provisioner {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Socket = asio::local::stream_protocol;
using BoostError = boost::system::error_code;

constexpr Seconds kConnectLimit{10};
// An empty buffer would be read into by 512 bytes a time.
constexpr std::size_t kReadSize = 64 * 1024;

Error connect_error(BoostError error, const std::string& path) {
  if (error == asio::error::access_denied) return errno_error(error.value(), path);
  return {ErrorCode::kUnavailable, fmt::format("{}: nobody answers: {}", path, error.message())};
}

// One call and its answer.
template <typename Body>
Result<AdminReply> exchange(const std::string& path, http::request<Body>& request, Seconds limit) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return fail(ErrorCode::kInvalidArgument, "{}: too long for the path of a socket", path);
  }
  asio::io_context io;
  beast::basic_stream<Socket> stream(io);
  // the asynchronous operations are what has time limits; each is run to its end here
  std::optional<BoostError> result;
  const auto finished = [&result](BoostError error, auto&&...) { result = error; };
  const auto wait = [&] {
    io.restart();
    io.run();
    return result.value_or(asio::error::operation_aborted);
  };

  stream.expires_after(kConnectLimit);
  stream.async_connect(Socket::endpoint(path), finished);
  if (const BoostError error = wait()) return fail(connect_error(error, path));

  request.set(http::field::host, "provisioner");
  request.keep_alive(false);
  request.prepare_payload();
  stream.expires_after(limit);
  http::async_write(stream, request, finished);
  // the service may have answered and stopped reading: then the answer says more than this error
  const BoostError write_error = wait();

  beast::flat_buffer buffer;
  buffer.reserve(kReadSize);
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  http::async_read(stream, buffer, parser, finished);
  const BoostError read_error = wait();
  if (read_error == beast::error::timeout) {
    return fail(ErrorCode::kTimedOut, "{}: no answer for {}", path, format_duration(limit));
  }
  if (read_error) {
    return fail(ErrorCode::kIo, "{}: the connection broke before the answer: {}", path,
                write_error ? write_error.message() : read_error.message());
  }
  return AdminReply{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
}

}  // namespace

Result<AdminReply> call_admin(const std::filesystem::path& socket, std::string_view method, std::string_view target,
                              std::string body, Seconds limit) {
  http::request<http::string_body> request(http::verb::get, {target.data(), target.size()}, 11);
  request.method_string({method.data(), method.size()});
  request.set(http::field::content_type, "application/json");
  request.body() = std::move(body);
  return exchange(socket.string(), request, limit);
}

Result<AdminReply> put_file_to_admin(const std::filesystem::path& socket, std::string_view target,
                                     const std::filesystem::path& file) {
  http::request<http::file_body> request(http::verb::put, {target.data(), target.size()}, 11);
  request.set(http::field::content_type, "application/octet-stream");
  BoostError error;
  request.body().open(file.c_str(), beast::file_mode::scan, error);
  if (error) return fail(errno_error(error.value(), file.string()));
  return exchange(socket.string(), request, kAnswerLimit);
}

}  // namespace fleet::provisioner
