// The command line's end of the admin socket.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/admin/wire.hpp"

namespace fleet::provisioner {

// Long enough for an apply of a whole fleet.
inline constexpr Seconds kAnswerLimit{600};

// One call, blocking until it is answered, for at most `limit`: then kTimedOut. kUnavailable if nobody listens on `socket`; kPermissionDenied if we may not; kIo if the connection broke before the
// answer, so that it is not known what became of the call.
Result<AdminReply> call_admin(const std::filesystem::path& socket, std::string_view method, std::string_view target,
                              std::string body = {}, Seconds limit = kAnswerLimit);

}  // namespace fleet::provisioner
