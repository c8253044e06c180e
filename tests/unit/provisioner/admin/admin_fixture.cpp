#include "tests/unit/provisioner/admin/admin_fixture.hpp"

#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "core/base/fd.hpp"

namespace fleet::provisioner::test {

AdminFixture::AdminFixture()
    : platform([this](std::function<void()> done) { boost::asio::post(io_, std::move(done)); }) {
  AdminSettings settings;
  settings.socket = socket();
  settings.verifier_key = Platform::kVerifierKey;
  settings.provisioner_id = "provisioner";
  settings.broker_state = [] { return std::string("running"); };
  const auto packages = std::make_shared<PackageFolder>(platform.folder / "packages");
  REQUIRE(packages->prepare());
  settings.packages = packages;
  settings.on_applied = [this](std::vector<std::string> dropped) {
    const std::lock_guard lock(mutex_);
    dropped_ = std::move(dropped);
  };
  settings.deliver = [this](Outcome outcome) {
    const std::lock_guard lock(mutex_);
    kicked_.insert(kicked_.end(), outcome.kick.begin(), outcome.kick.end());
  };
  server = std::make_unique<AdminServer>(io_, std::move(settings), *platform.store, platform.executor);
  const auto started = server->start();
  REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().message));
  thread_ = std::thread([this] { io_.run(); });
}

AdminFixture::~AdminFixture() {
  boost::asio::post(io_, [this] {
    server.reset();
    work_.reset();
  });
  thread_.join();
}

AdminReply AdminFixture::call(std::string_view method, std::string_view target, std::string body) {
  auto reply = call_admin(socket(), method, target, std::move(body));
  REQUIRE_MESSAGE(reply.has_value(), (reply ? "" : reply.error().message));
  return std::move(*reply);
}

boost::json::object AdminFixture::get(std::string_view target) {
  const AdminReply reply = call("GET", target);
  REQUIRE_MESSAGE(reply.status == 200, reply.body);
  return json_of(reply);
}

AdminReply AdminFixture::apply(const std::string& yaml, const std::string& more) {
  std::string body = "{\"documents\":[";
  for (const config::Node& node : parse(yaml)) body += (body.back() == '[' ? "" : ",") + config::to_json(node);
  return call("POST", "/v1/apply", body + "]" + more + "}");
}

void AdminFixture::apply_account_and_profile() {
  const AdminReply reply = apply(account_yaml() + kNextDocument + profile_yaml());
  REQUIRE_MESSAGE(reply.status == 200, reply.body);
}

std::vector<std::string> AdminFixture::dropped() {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

std::vector<std::string> AdminFixture::kicked() {
  const std::lock_guard lock(mutex_);
  return kicked_;
}

boost::json::object json_of(const AdminReply& reply) {
  boost::system::error_code error;
  const auto value = boost::json::parse(reply.body, error);
  REQUIRE_MESSAGE((!error && value.is_object()), reply.body);
  return value.as_object();
}

std::string error_code(const AdminReply& reply) {
  const boost::json::object body = json_of(reply);
  const auto* error = body.if_contains("error");
  return error == nullptr ? "" : std::string(error->as_object().at("code").as_string());
}

std::string talk(const std::filesystem::path& socket, std::string_view bytes) {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof(address.sun_path) - 1);
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  const timeval limit{5, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) break;  // it need not listen to the end
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  ::shutdown(fd.get(), SHUT_WR);
  std::string answer(1 << 20, '\0');
  std::size_t size = 0;
  for (ssize_t got = 0; (got = ::recv(fd.get(), answer.data() + size, answer.size() - size, 0)) > 0;)
    size += static_cast<std::size_t>(got);
  answer.resize(size);
  return answer;
}

}  // namespace fleet::provisioner::test
