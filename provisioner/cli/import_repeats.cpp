#include "provisioner/cli/import_repeats.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

namespace fleet::provisioner {
namespace {

std::uint64_t hash_of(std::string_view text) {
  return std::hash<std::string_view>()(text);
}

using Hashes = std::array<std::uint64_t, 3>;  // of name, client id and username
using Repeated = std::array<std::unordered_set<std::uint64_t>, 3>;

// Adds those that are there more than once; no more than `most` in all.
void add_repeated(std::vector<std::uint64_t>& hashes, std::size_t most, std::unordered_set<std::uint64_t>& found) {
  std::sort(hashes.begin(), hashes.end());
  for (std::size_t i = 1; i < hashes.size() && found.size() < most; ++i) {
    if (hashes[i] == hashes[i - 1]) found.insert(hashes[i]);
  }
}

struct First {
  std::string name;
  std::uint32_t file = 0;
  int line = 0;
  std::uint64_t password = 0;  // 0: one that it has already
  bool generated = false;
};

// Problems of one look through the requests that are in doubt.
class Look {
 public:
  explicit Look(const std::vector<std::string>& files) : files_(files) {}

  void at_name(const ImportedRequest& request) {
    const auto [first, is_first] = names_.emplace(request.name, first_of(request));
    if (is_first) return;
    problem(request, "metadata.name",
            fmt::format("a second ProvisionRequest '{}': the first is {}", request.name, place_of(first->second)));
  }

  void at_client_id(const ImportedRequest& request) {
    const auto [first, is_first] = client_ids_.emplace(request.client_id, first_of(request));
    // of a second one of a name enough has been said
    if (is_first || first->second.name == request.name) return;
    problem(request, "spec.clientId",
            fmt::format("request '{}' already has client id {}: {}", first->second.name, request.client_id,
                        place_of(first->second)));
  }

  void at_username(const ImportedRequest& request, bool generated) {
    First here = first_of(request);
    here.generated = generated;
    const auto [found, is_first] = usernames_.emplace(request.username, here);
    const First& first = found->second;
    if (is_first || first.name == request.name) return;
    const bool differ = here.password != 0 && first.password != 0 && here.password != first.password;
    if (!differ && !here.generated && !first.generated) return;
    problem(request, "spec.provisionUserUsername",
            fmt::format("requests '{}' and '{}' would use this username with different passwords: give both the same "
                        "provisionUserPassword, or another username",
                        first.name, request.name));
  }

  std::vector<config::Problem>& problems() { return problems_; }

 private:
  static First first_of(const ImportedRequest& request) {
    return {request.name, request.file, request.mark.line, request.password, false};
  }
  std::string place_of(const First& first) const { return fmt::format("{}:{}", files_[first.file], first.line); }
  void problem(const ImportedRequest& request, std::string path, std::string why) {
    problems_.push_back({files_[request.file], request.mark, std::move(path), std::move(why)});
  }

  const std::vector<std::string>& files_;
  std::unordered_map<std::string, First> names_, client_ids_, usernames_;
  std::vector<config::Problem> problems_;
};

}  // namespace

Result<void> RepeatFinder::add(const ImportedRequest& request) {
  if (!hashes_) {
    TRY_ASSIGN(hashes_, UnnamedFile::create());
  }
  ++size_;
  const Hashes hashes{hash_of(request.name), hash_of(request.client_id), hash_of(request.username)};
  return hashes_->write(&hashes, sizeof hashes);
}

Result<std::vector<config::Problem>> RepeatFinder::find(ImportSpool& spool, const std::vector<std::string>& files,
                                                        const std::function<bool(std::uint64_t)>& gets_password,
                                                        std::size_t most) {
  Repeated repeated;
  // equal hashes come into the same part
  const std::uint64_t parts = (size_ + at_once_ - 1) / at_once_;
  for (std::uint64_t part = 0; part < parts; ++part) {
    std::array<std::vector<std::uint64_t>, 3> of_part;
    TRY(hashes_->rewind());
    for (std::uint64_t number = 0; number < size_; ++number) {
      Hashes hashes{};
      TRY(hashes_->read(&hashes, sizeof hashes));
      for (std::size_t i = 0; i < hashes.size(); ++i) {
        if (hashes[i] % parts == part) of_part[i].push_back(hashes[i]);
      }
    }
    for (std::size_t i = 0; i < of_part.size(); ++i) add_repeated(of_part[i], most, repeated[i]);
  }
  const auto& [names, client_ids, usernames] = repeated;
  if (names.empty() && client_ids.empty() && usernames.empty()) return std::vector<config::Problem>();
  Look look(files);
  TRY(spool.rewind());
  for (std::uint64_t number = 0; look.problems().size() < most; ++number) {
    TRY_ASSIGN(const std::optional<ImportedRequest> request, spool.next());
    if (!request) break;
    if (names.contains(hash_of(request->name))) look.at_name(*request);
    if (client_ids.contains(hash_of(request->client_id))) look.at_client_id(*request);
    if (usernames.contains(hash_of(request->username))) look.at_username(*request, gets_password(number));
  }
  return std::move(look.problems());
}

}  // namespace fleet::provisioner
