// Calls to the service. Private to provisioner/cli.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "core/base/result.hpp"
#include "provisioner/admin/client.hpp"
#include "provisioner/admin/wire.hpp"
#include "provisioner/service/settings.hpp"

namespace fleet::provisioner {

// The answer of the service, or why there is none: its own error, or that of reaching it.
Result<boost::json::object> call_service(const DataLayout& layout, std::string_view method, std::string_view target);

// As above, the answer as it came: JSON in which numbers keep their text.
Result<std::string> ask_service(const DataLayout& layout, std::string_view method, std::string_view target,
                                std::string body = {}, Seconds limit = kAnswerLimit);

// As the first, with what is wrong with single documents.
tl::expected<boost::json::object, AdminFailure> post_to_service(const DataLayout& layout, std::string_view target,
                                                                std::string body);

}  // namespace fleet::provisioner
