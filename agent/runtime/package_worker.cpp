#include "agent/runtime/package_worker.hpp"

#include <signal.h>
#include <utility>

#include <boost/asio/post.hpp>

#include "agent/apply/package_store.hpp"
#include "agent/apply/removal.hpp"
#include "core/base/file.hpp"
#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

constexpr Millis kTellPause{500};

int percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<int>(std::min<std::uint64_t>(part * 100 / whole, 100));
}

// Signals are the io_context's: none is delivered to this thread.
void block_signals() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

// Progress twice a second at most, and only when something has arrived: the session takes it for a sign of life.
class PackageWorker::Teller {
 public:
  Teller(PackageWorker& worker, const Work& work) : worker_(worker), work_(work) {}

  protocol::DeployStage stage() const { return stage_; }
  void begin(protocol::DeployStage stage) {
    stage_ = stage;
    seen_.reset();
    told_ = {};
  }

  bool operator()(std::uint64_t done, std::uint64_t total) {
    if (worker_.cancelled(work_)) return false;
    const SteadyTime now = std::chrono::steady_clock::now();
    const bool news = !seen_ || done != *seen_;
    if (!news || now - told_ < kTellPause) return true;
    // Where it began is no progress: a resumed download that brings nothing more must not look alive.
    if (seen_ || stage_ == protocol::DeployStage::kInstall) {
      worker_.tell(work_, PackageProgress{work_.job.key, stage_, percent(done, total)});
      told_ = now;
    }
    seen_ = done;
    return true;
  }

 private:
  PackageWorker& worker_;
  const Work& work_;
  protocol::DeployStage stage_ = protocol::DeployStage::kDownload;
  std::optional<std::uint64_t> seen_;
  SteadyTime told_{};
};

PackageWorker::PackageWorker(boost::asio::io_context& io, PackageWorkerSettings settings,
                             std::function<void(Event)> feed)
    : io_(io),
      settings_(std::make_shared<const PackageWorkerSettings>(std::move(settings))),
      feed_(std::move(feed)) {}

PackageWorker::~PackageWorker() {
  *alive_ = false;
  ++epoch_;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PackageWorker::set_settings(PackageWorkerSettings settings) {
  settings_ = std::make_shared<const PackageWorkerSettings>(std::move(settings));
}

void PackageWorker::fetch(FetchPackage job, WallTime verification_time) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({std::move(job), verification_time, settings_, epoch_.load()});
  }
  wake();
}

void PackageWorker::remove(std::vector<std::filesystem::path> retired) {
  if (retired.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    for (std::filesystem::path& path : retired) retired_.push_back(std::move(path));
  }
  wake();
}

void PackageWorker::wake() {
  changed_.notify_all();
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void PackageWorker::cancel() {
  ++epoch_;
  const std::lock_guard lock(mutex_);
  waiting_.clear();
}

void PackageWorker::run() {
  block_signals();
  while (const auto task = next()) {
    const auto* work = std::get_if<Work>(&*task);
    try {
      work != nullptr ? carry_out(*work) : take_away(std::get<std::filesystem::path>(*task));
    } catch (const std::exception& exception) {  // no memory, most likely
      Error error{ErrorCode::kInternal, fmt::format("internal error: {}", exception.what())};
      work != nullptr ? tell(*work, PackageFailed{work->job.key, protocol::DeployStage::kInstall, std::move(error)})
                      : log::warn("apply", error.message);
    }
  }
}

std::optional<PackageWorker::Task> PackageWorker::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !retired_.empty() || !waiting_.empty(); });
  std::optional<Task> task;
  if (stopping_) return task;
  if (!retired_.empty()) {
    task = std::move(retired_.front());
    retired_.pop_front();
  } else {
    task = std::move(waiting_.front());
    waiting_.pop_front();
  }
  return task;
}

void PackageWorker::take_away(const std::filesystem::path& retired) const {
  const auto removed = remove_tree(retired, [this] { return !stopping_; });
  if (removed || stopping_) return;
  log::warn("apply", "what is not needed any more stays until the next start", {{"error", removed.error().message}});
}

void PackageWorker::tell(const Work& work, Event event) {
  boost::asio::post(io_, [this, alive = alive_, epoch = work.epoch, event = std::move(event)] {
    if (*alive && epoch == epoch_.load()) feed_(event);
  });
}

void PackageWorker::carry_out(const Work& work) {
  const FetchPackage& job = work.job;
  if (has_package(work.settings->state_folder, job.package)) return tell(work, PackageDone{job.key, true});
  const std::filesystem::path file = download_file(work.settings->state_folder, job.package);
  Teller teller(*this, work);
  const auto brought = bring(work, file, teller);
  if (!brought) return tell(work, PackageFailed{job.key, teller.stage(), brought.error()});
  tell(work, PackageDone{job.key, false});
}

Result<void> PackageWorker::bring(const Work& work, const std::filesystem::path& file, Teller& teller) const {
  const FetchPackage& job = work.job;
  const auto progress = [&teller](std::uint64_t done, std::uint64_t total) { return teller(done, total); };
  const PackageHelper helper(work.settings->helper);
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    if (job.uri.empty()) {
      if (job.content.size() > work.settings->download.max_size) return fail(too_large(work.settings->download));
      TRY(make_folder(file.parent_path()));
      TRY(write_file(file, job.content));
    } else {
      TRY(helper.download({job.uri, job.package.sha256, work.settings->roots, work.verification_time, work.settings->allow_file}, file,
                   work.settings->download, progress));
    }
  }
  if (!job.install) return {};
  teller.begin(protocol::DeployStage::kInstall);
  const std::string file_name = job.uri.empty() ? job.file_name : file_name_of(job.uri, job.package.id.name);
  const Unpack unpack = [&](const auto& archive, const auto& folder, const UnpackProgress& told) {
    return helper.unpack(archive, folder, work.settings->unpack, told);
  };
  auto stored = store_package(work.settings->state_folder, job.package, file, file_name, unpack, progress);
  // Neither needed any more nor worth the room: the next try of the same content would fail in the same way.
  if (stored || !is_transient(stored.error().code) || stored.error().code == ErrorCode::kNoSpace) {
    static_cast<void>(fleet::remove_all(file).has_value());
  }
  return stored;
}

}  // namespace fleet::agent
