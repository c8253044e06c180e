// A small HTTP or HTTPS server on 127.0.0.1 that answers as a test wants: also too slowly, too little, or something
// else.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace fleet::test {

struct HttpRequest {
  std::string method, target;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const;
  // N of "Range: bytes=N-"; 0 without one.
  std::size_t range_start() const;
};

struct HttpReply {
  int status = 200;
  std::map<std::string, std::string> headers = {};
  std::string body = {};
  bool tells_length = true;                     // Content-Length
  std::optional<std::size_t> cut_after = {};    // closes behind that many bytes of the body
  std::optional<std::size_t> stall_after = {};  // sends no more behind that many, and keeps the connection
  std::size_t bytes_a_second = 0;               // 0: as fast as it goes
};

// The file, or from `range_start()` on with 206.
HttpReply file_reply(const HttpRequest& request, const std::string& content);

class HttpServer {
 public:
  // Called on threads of the server's own, one at a time.
  using Handler = std::function<HttpReply(const HttpRequest&)>;
  // With a certificate chain and key (PEM files) it speaks TLS.
  explicit HttpServer(Handler handler, const std::filesystem::path& chain = {}, const std::filesystem::path& key = {});
  ~HttpServer();  // closes all connections

  int port() const;
  // "http[s]://localhost:PORT" + target
  std::string url(const std::string& target) const;
  std::vector<HttpRequest> requests() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace fleet::test
