// Provision requests as a table: a header that names the columns, then a request a row.
//
//   name,clientId,username,profile,labels.site,params.rack
//   gw-1,02FC00000001,02FC00000001-SN1,gateway,north,R1
//
// name, clientId and username must be there. Others: password, activationKey, generateActivationKey, profile,
// provisionSecureURL, deviceCredentialsTight, status, activatesOn, expiresOn, retryMaxAttempts, overwriteIfDuplicate, optlock,
// labels.X, params.X. They mean what they mean in a document (see manifest.hpp); an empty cell is as if it were not there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/csv.hpp"
#include "core/config/decoder.hpp"
#include "core/config/node.hpp"

namespace fleet::provisioner {

class RequestTable {
 public:
  // `profile` is that of the rows that name none; may be empty. nullopt, and problems, if the header is no good.
  static std::optional<RequestTable> with_header(const config::CsvRow& header, std::string profile,
                                                 config::Problems& problems);

  // The row as a document, each value at the mark of its cell; nullopt, and a problem, if it has more or fewer cells than
  // the header.
  std::optional<config::Node> document_of(config::CsvRow row, config::Problems& problems) const;

  // What a path in such a document ("spec.provisionUserUsername") is called in a table ("username").
  static std::string column_of(std::string_view path);

 private:
  struct Column {
    enum class Place { kName, kLabel, kParam, kSpec };
    Place place = Place::kSpec;
    std::string key;     // in the document
    bool text = true;    // as opposed to a number, or true or false
  };
  static std::optional<Column> column(std::string_view name);

  std::vector<Column> columns_;
  std::string profile_;
};

}  // namespace fleet::provisioner
