// Packages as an operator writes them in YAML.
//
//   packages:                                  # at most 9 (edc §4.5)
//     - name: app
//       version: 1.2.0
//       url: https://example.com/${labels.site}/app-1.2.0.tar.gz
//       sha256: 64 hex digits
//     - name: driver
//       version: "3"
//       file: driver-3.tar.gz                  # the operator's; what the command line makes of it: measure_packages
//       inline: true                           # default false: travels within the message, at most 512 KiB
//       requiredBeforeConfiguration: false     # default true
#pragma once

#include <string>
#include <vector>

#include "core/config/decoder.hpp"
#include "core/config/node.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// All problems at once; what is returned then is not to be used. Files have been measured (manifest.hpp).
std::vector<Package> decode_packages(const config::Node& node, const std::string& path, config::Problems& problems);

}  // namespace fleet::provisioner
