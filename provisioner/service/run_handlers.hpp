// The border at which exceptions of the service's handlers end.
#pragma once

#include <functional>

#include <boost/asio/io_context.hpp>

#include "core/base/result.hpp"

namespace fleet::provisioner {

// Runs `io` until it has nothing to do or is stopped. A handler that throws is a defect (no error is told by exceptions
// here): it is logged, `stop` is called, once, to end the rest in order, and the result is kInternal. What throws after
// that ends it at once.
Result<void> run_handlers(boost::asio::io_context& io, const std::function<void()>& stop);

}  // namespace fleet::provisioner
