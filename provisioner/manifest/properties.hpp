// Component configurations as an operator writes them in YAML: pid → property → value.
#pragma once

#include <string>

#include "core/config/decoder.hpp"
#include "core/config/node.hpp"
#include "core/protocol/esf_xml.hpp"

namespace fleet::provisioner {

// A plain scalar's type follows from its form: true/false → Boolean, whole number → Integer (Long if it does not fit),
// number with a point or exponent → Double, anything else and all that is quoted → String. `{type: T, value: V}` says
// it. What is a number to some readers only (0123, +5, .5) is a problem. A list is an array, whose items must be of one
// type. Values that hold `${` are templates and are checked once rendered.
protocol::Configurations decode_configurations(const config::Node& node, const std::string& path,
                                               config::Problems& problems);

}  // namespace fleet::provisioner
