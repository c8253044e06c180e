#include "provisioner/service/package_desk.hpp"

#include <utility>

#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "core/base/secret.hpp"
#include "core/crypto/tls.hpp"
#include "core/protocol/deploy.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kLog = "packages";
constexpr Seconds kRetryListen{5};
constexpr Seconds kSweepEvery{600};
constexpr std::string_view kNoUrl = "the broker's certificate has no host that devices could get packages from; set "
                                    "packages.url in the settings and restart the provisioner";

// A lost one makes links invalid, no more.
Result<Bytes> load_or_make_key(const std::filesystem::path& file) {
  constexpr std::size_t kSize = 32;
  auto key = read_file(file, 1024);
  if (!key && key.error().code == ErrorCode::kNotFound) {
    key = random_bytes(kSize);
    TRY(create_file(file, *key));
  }
  if (!key) return fail(std::move(key).error());
  if (key->size() != kSize) {
    return fail(ErrorCode::kCorrupt, "{}: must hold {} bytes, has {}; remove it to have it made anew", file.string(),
                kSize, key->size());
  }
  return key;
}

Result<bool> goes_on(Transaction& tx, const PackageLink& link, WallTime now) {
  TRY_ASSIGN(const std::optional<Attempt> attempt, tx.latest_attempt(link.request_id));
  if (!attempt || attempt->number != link.attempt_number) return false;
  if (attempt->state == AttemptState::kOpen) return true;
  // an optional package may come after the configuration
  return attempt->state == AttemptState::kCompleted && attempt->ended_at && now < *attempt->ended_at + kCompletedGrace;
}

}  // namespace

Result<std::unique_ptr<PackageDesk>> PackageDesk::open(const DataLayout& layout, const Foundation& foundation,
                                                       boost::asio::io_context& io, Store& store) {
  auto folder = std::make_shared<const PackageFolder>(layout.packages());
  TRY(folder->prepare());
  TRY_ASSIGN(Bytes key, load_or_make_key(layout.packages_key()));
  PackageServerSettings settings;
  settings.address = foundation.settings.packages_listen.address;
  settings.port = foundation.settings.packages_listen.port;
  TRY_ASSIGN(settings.tls, crypto::make_server_context(foundation.pki.broker_chain_pem, foundation.pki.broker_key_pem));
  return std::make_unique<PackageDesk>(io, store, std::move(folder),
                                       PackageLinks(foundation.packages_url, std::move(key)), std::move(settings));
}

PackageDesk::PackageDesk(boost::asio::io_context& io, Store& store, std::shared_ptr<const PackageFolder> folder,
                         PackageLinks links, PackageServerSettings settings)
    : retry_timer_(io),
      sweep_timer_(io),
      store_(store),
      folder_(std::move(folder)),
      links_(std::make_shared<const PackageLinks>(std::move(links))),
      sweep_(std::make_shared<PackageSweep>()) {
  // on the server's thread; the answer comes by way of ours
  const IsAlive is_alive = [&store](const PackageLink& link, std::function<void(bool)> answer) {
    auto alive = std::make_shared<bool>(false);
    store.submit(
        [alive, link](Transaction& tx) -> Result<void> {
          TRY_ASSIGN(*alive, goes_on(tx, link, wall_now()));
          return {};
        },
        [alive, answer = std::move(answer)](const Result<void>& done) { answer(done && *alive); });
  };
  server_ = std::make_unique<PackageServer>(std::move(settings), *folder_, *links_, is_alive);
}

Result<void> PackageDesk::start() {
  PackageFiles files;
  TRY(store_.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(files, tx.package_files());
    // nobody is uploading yet
    TRY_ASSIGN(const std::size_t removed, sweep_->remove_unnamed(tx, *folder_, wall_now()));
    if (removed > 0) log::info(kLog, "removed files that no package names any more", {{"files", removed}});
    return {};
  }));
  if (files.downloads) listen();
  sweep_later();
  return {};
}

void PackageDesk::on_applied(std::vector<std::string> dropped) {
  auto downloads = std::make_shared<bool>(false);
  // On the store's thread, as an apply is that finds a file there: no file goes between the two.
  store_.submit(
      [downloads, dropped = std::move(dropped), folder = folder_, sweep = sweep_](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(const PackageFiles files, tx.package_files());
        *downloads = files.downloads;
        return sweep->remove_dropped(tx, *folder, dropped, wall_now());
      },
      [this, downloads](const Result<void>& done) {
        if (stopped_) return;
        if (!done) log::error(kLog, "files of packages not looked after", {{"why", done.error().message}});
        if (*downloads) listen();
      });
}

void PackageDesk::sweep_later() {
  sweep_timer_.expires_after(kSweepEvery);
  sweep_timer_.async_wait([this](boost::system::error_code cancelled) {
    if (cancelled || stopped_) return;
    store_.submit(
        [folder = folder_, sweep = sweep_](Transaction& tx) -> Result<void> {
          TRY_ASSIGN(const std::size_t removed, sweep->round(tx, *folder, wall_now()));
          if (removed > 0) log::info(kLog, "removed files that no package names any more", {{"files", removed}});
          return {};
        },
        [this](const Result<void>& done) {
          if (stopped_) return;
          if (!done) log::error(kLog, "files of packages not looked after", {{"why", done.error().message}});
          sweep_later();
        });
  });
}

void PackageDesk::listen() {
  if (!links_->reachable()) log::error(kLog, "packages cannot be downloaded", {{"why", std::string(kNoUrl)}});
  const auto started = server_->start();
  if (started) return;
  log::error(kLog, "packages are not served", {{"why", started.error().message}});
  retry_timer_.expires_after(kRetryListen);
  retry_timer_.async_wait([this](boost::system::error_code cancelled) {
    if (!cancelled && !stopped_) listen();
  });
}

void PackageDesk::stop() {
  stopped_ = true;
  retry_timer_.cancel();
  sweep_timer_.cancel();
  server_.reset();
}

void PackageDesk::equip(ExecutorSettings& settings) const {
  settings.package_url = [links = links_](const Package& package, std::int64_t request_id,
                                          int attempt_number) -> Result<std::string> {
    if (!links->reachable()) return fail(ErrorCode::kUnavailable, "package {}: {}", package.name, kNoUrl);
    return links->make({package.sha256, request_id, attempt_number}, package.file_name, wall_now());
  };
  settings.read_package = [folder = folder_](const Package& package) -> Result<Bytes> {
    auto content = folder->read(package.sha256, protocol::kMaxInlinePackage);
    if (!content) return fail(with_context(std::move(content).error(), "package " + package.name));
    return content;
  };
}

}  // namespace fleet::provisioner
