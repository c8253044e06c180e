#include "provisioner/cli/advice.hpp"

#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

bool asks_service(Act act) {
  return act != Act::kInit && act != Act::kRenew && act != Act::kServe;
}

int own_exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kPermissionDenied:
      return EX_NOPERM;
    case ErrorCode::kIo:
    case ErrorCode::kNoSpace:
      return EX_IOERR;
    case ErrorCode::kConflict:
    case ErrorCode::kTimedOut:
      return EX_TEMPFAIL;
    case ErrorCode::kUnavailable:
      return EX_UNAVAILABLE;
    case ErrorCode::kInternal:
      return EX_SOFTWARE;
    default:
      return EX_CONFIG;
  }
}

int client_exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUnavailable:
      return EX_UNAVAILABLE;
    case ErrorCode::kPermissionDenied:
      return EX_NOPERM;
    case ErrorCode::kIo:
      return EX_IOERR;
    case ErrorCode::kTimedOut:
    case ErrorCode::kNoSpace:
      return EX_TEMPFAIL;
    case ErrorCode::kCorrupt:
    case ErrorCode::kInternal:
      return EX_SOFTWARE;
    default:
      return EX_DATAERR;
  }
}

bool is_about(const Error& error, const fs::path& path) {
  return error.message.starts_with(path.string());
}

// Somebody who is not root and works on a folder that is not theirs.
bool is_stranger(const fs::path& folder) {
  struct stat found {};
  return ::geteuid() != 0 && ::stat(folder.c_str(), &found) == 0 && found.st_uid != ::geteuid();
}

bool is_lost_or_damaged(ErrorCode code) {
  return code == ErrorCode::kNotFound || code == ErrorCode::kMalformed || code == ErrorCode::kCorrupt ||
         code == ErrorCode::kUnauthenticated;
}

std::string hint_for_init(const Error& error, const DataLayout& layout) {
  switch (error.code) {
    case ErrorCode::kPermissionDenied:
      return "run it as a user who may write there, or name another folder with --data";
    case ErrorCode::kAlreadyExists:
      return "a data folder is made once; remove it, or name another one with --data";
    case ErrorCode::kNoSpace:
      return fmt::format("make room on the disk of {}", layout.folder.string());
    default:
      return {};
  }
}

std::string hint_for_data(const Error& error, const DataLayout& layout) {
  const std::string data = layout.folder.string();
  switch (error.code) {
    case ErrorCode::kPermissionDenied:
      return is_stranger(layout.folder)
                 ? fmt::format("run it as the owner of {}, or name another folder with --data", data)
                 : std::string();
    case ErrorCode::kConflict:
      return is_about(error, layout.lock()) ? "another provisioner works on this data folder: stop it first" : "";
    case ErrorCode::kNoSpace:
      return fmt::format("make room on the disk of {}", data);
    default:
      break;
  }
  if (!is_lost_or_damaged(error.code) || error.message.find("restore") != std::string::npos) return {};
  if (is_about(error, layout.pki())) return "restore pki/ from the backup of the data folder";
  if (is_about(error, layout.verifier_key())) {
    return "restore it from the backup of the data folder: without it no password fits";
  }
  return {};
}

std::string hint_for_client(Act act, const Error& error, const DataLayout& layout) {
  const std::string data = layout.folder.string();
  switch (error.code) {
    case ErrorCode::kUnavailable:
      return fmt::format("start it with `provisioner serve --data {}`", data);
    case ErrorCode::kPermissionDenied:
      return "run it as root or as the user that the service runs as";
    case ErrorCode::kNotFound:
      if (error.message.starts_with("certificate ")) {
        return fmt::format("`provisioner get certificates --data {}` lists all serial numbers", data);
      }
      return act == Act::kDescribe || act == Act::kChange ? list_names_hint(layout) : std::string();
    case ErrorCode::kTimedOut:
    case ErrorCode::kIo:
      return act == Act::kApply || act == Act::kChange
                 ? "look with `provisioner status` and `provisioner get requests` how far it came"
                 : "";
    case ErrorCode::kNoSpace:
      return fmt::format("make room on the disk of {}{}", data, act == Act::kApply ? "; nothing was changed" : "");
    default:
      return {};
  }
}

}  // namespace

int exit_code_of(Act act, ErrorCode code) {
  // all that these are given comes from the command line
  if ((act == Act::kInit || act == Act::kRenew) && code == ErrorCode::kInvalidArgument) return EX_USAGE;
  return asks_service(act) ? client_exit_code(code) : own_exit_code(code);
}

std::string hint_for(Act act, const Error& error, const DataLayout& layout) {
  if (act == Act::kInit) return hint_for_init(error, layout);
  return asks_service(act) ? hint_for_client(act, error, layout) : hint_for_data(error, layout);
}

std::string list_names_hint(const DataLayout& layout) {
  return fmt::format("`provisioner get requests --data {}` lists all names", layout.folder.string());
}

}  // namespace fleet::provisioner
