// The operator's requests and what they do: routes, their work on the store, their answers. Knows no sockets.
//
//   POST   /v1/apply                 {"documents": [...], "dryRun": false, "allowWeak": false, "overwrite": false}
//   POST   /v1/check                 the same documents: what apply would say and do. Writes nothing and makes no device wait,
//                                    so that a long import can be checked to its end before any of it is applied
//   GET    /v1/requests?…            paged by name: "next" is the `after` of the next page (see query.hpp, also below)
//   GET    /v1/requests/{name}       the request, its attempts, certificates and timeline
//   DELETE /v1/requests/{name}
//   POST   /v1/requests/{name}/retry | enable | disable
//   POST   /v1/progress              how far a selection of requests has come, in numbers
//   GET    /v1/certificates?…        and /v1/certificates/{serial}
//   GET    /v1/manifests/accounts | profiles | requests?…     what apply takes
//   GET    /v1/audit?…               oldest first, the newest that fit
//   GET    /v1/profiles, /v1/accounts, /v1/status
//   GET, PUT /v1/packages/{sha256}   whether that file of a package is there; the file itself
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/thread_pool.hpp>

#include "core/base/result.hpp"
#include "provisioner/admin/server.hpp"
#include "provisioner/admin/views.hpp"
#include "provisioner/admin/wire.hpp"

namespace fleet::provisioner {

struct AdminCall {
  std::string method;
  std::string target;  // path and query as they came
  std::string body;
  std::string by;  // who calls, for the log and the timeline: "uid 0 (root)"
};

// Single-threaded, on the thread that the store posts its completions to. Lives until its last call is answered.
class AdminApi : public std::enable_shared_from_this<AdminApi> {
 public:
  using Respond = std::function<void(AdminReply)>;

  AdminApi(AdminSettings settings, Store& store, const Executor& executor);

  // Answers once, at once or after the commit of what the call did.
  void handle(AdminCall call, Respond respond);
  // PUT /v1/packages/{sha256}, whose body is the file itself: the server writes it to the upload as it comes.
  Result<PackageUpload> begin_upload(std::string sha256) const;
  AdminReply finish_upload(PackageUpload upload, const std::string& by) const;
  // From now on outcomes are not delivered any more: those who would deliver them are going. What was being decoded is with the
  // store when this returns, and no apply or check may come any more.
  void stop();

 private:
  struct Answer;
  struct Application;
  using Work = std::function<Result<Answer>(Transaction&)>;

  void submit(Work work, Respond respond);
  // As submit() for what changes nothing: no device waits for it.
  void read(Work work, Respond respond);
  // True if the call was one for the reader, and is being answered.
  bool show(const AdminCall& call, const std::vector<std::string_view>& parts, const std::string& query,
            const Respond& respond);
  void show(Result<View> view, Respond respond);
  std::shared_ptr<Application> application_of(AdminCall& call) const;
  // Decodes it on a thread of its own; then `work` and `done` are read() by the store, in the order of the calls.
  void read_decoded(const std::shared_ptr<Application>& application, fleet::provisioner::Work work, Done done);
  void apply(AdminCall call, Respond respond);
  void apply_prepared(const std::shared_ptr<Application>& application, std::string by, Respond respond);
  void finish_apply(Application& application, const std::string& by, Result<void> done, const Respond& respond);
  void check(AdminCall call, Respond respond);
  void describe_request(std::string name, Respond respond);
  void change_request(std::string act, std::string name, std::string by, Respond respond);
  void list_accounts(Respond respond);
  void list_profiles(Respond respond);
  void list_audit(std::string_view query, Respond respond);
  // A line about what was not done, so that no transaction of its own tells it.
  void record(AuditEntry entry);
  void status(Respond respond);
  void find_package(const std::string& sha256, Respond respond);

  AdminSettings settings_;
  Store& store_;
  const Executor& executor_;
  bool stopped_ = false;
  boost::asio::thread_pool decoder_{1};
};

}  // namespace fleet::provisioner
