// What is wrong with a command line, in the words of the person who typed it.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace fleet::cli {

// Why `app` could not parse its command line. A word that is no command or option goes before all else, with the
// nearest one that is; what follows a '=' is left out, since it may be a secret.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error);

}  // namespace fleet::cli
