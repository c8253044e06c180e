// Has packages fetched and unpacked by its helper (package_helper.hpp), on a thread of its own, one after the other, as
// events of the session, and removes old ones: neither a slow link nor a slow disk keeps the agent from its broker.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "agent/apply/download.hpp"
#include "agent/apply/package_helper.hpp"
#include "agent/apply/unpack.hpp"
#include "agent/session/session.hpp"

namespace fleet::agent {

struct PackageWorkerSettings {
  std::filesystem::path state_folder;
  std::vector<crypto::Certificate> roots;  // trusted beside the system's
  bool allow_file = false;                 // file: URIs too
  std::filesystem::path helper = PackageHelper::installed();
  DownloadLimits download;
  UnpackLimits unpack;
};

class PackageWorker {
 public:
  // `feed` is called on the thread of the io_context, which must outlive this.
  PackageWorker(boost::asio::io_context& io, PackageWorkerSettings settings, std::function<void(Event)> feed);
  // Stops what is under way, within a second or so, and waits for that.
  ~PackageWorker();
  PackageWorker(const PackageWorker&) = delete;
  PackageWorker& operator=(const PackageWorker&) = delete;

  // For the packages that are asked for from now on.
  void set_settings(PackageWorkerSettings settings);

  // `verification_time`: for the certificates of servers.
  void fetch(FetchPackage job, WallTime verification_time);
  // Stops what is under way and forgets what waits; does not wait for it. No event of theirs is fed after this.
  void cancel();

  // Removes files and folders that nobody uses any more (removal.hpp) before it fetches another package; cancel() does not
  // concern it. What the end of this leaves is the next start's.
  void remove(std::vector<std::filesystem::path> retired);

 private:
  struct Work {
    FetchPackage job;
    WallTime verification_time;
    std::shared_ptr<const PackageWorkerSettings> settings;
    std::uint64_t epoch = 0;
  };
  // What is told about the job under way.
  class Teller;

  void run();
  // Something to remove, or something to fetch.
  using Task = std::variant<std::filesystem::path, Work>;
  std::optional<Task> next();  // nullopt: this ends
  void take_away(const std::filesystem::path& retired) const;
  void carry_out(const Work& work);
  Result<void> bring(const Work& work, const std::filesystem::path& file, Teller& teller) const;
  bool cancelled(const Work& work) const { return work.epoch != epoch_.load(); }
  void tell(const Work& work, Event event);
  void wake();

  boost::asio::io_context& io_;
  std::shared_ptr<const PackageWorkerSettings> settings_;
  std::function<void(Event)> feed_;
  std::atomic<std::uint64_t> epoch_{0};  // grows with each cancel()

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> waiting_;                   // guarded by mutex_
  std::deque<std::filesystem::path> retired_;  // guarded by mutex_
  std::atomic<bool> stopping_{false};          // set under mutex_
  // Tells what is still on its way to the io_context that this is gone; used on its thread only.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::thread thread_;  // started by the first job
};

}  // namespace fleet::agent
