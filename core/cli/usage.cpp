#include "core/cli/usage.hpp"

#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/base/nearest.hpp"

namespace fleet::cli {
namespace {

std::vector<std::string> options_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

// The chosen command below `app`; null if there is none.
const CLI::App* chosen_below(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? nullptr : chosen.front();
}

std::string unknown_option(const CLI::App& app, const std::string& word) {
  std::string path = app.get_name();
  for (const CLI::App* command = chosen_below(app); command != nullptr; command = chosen_below(*command)) {
    path += " " + command->get_name();
    if (command->get_option_no_throw(word) != nullptr) {
      return fmt::format("{}: belongs behind the command: {} {}", word, path, word);
    }
  }
  const std::string guess = nearest(word, options_of(app));
  return fmt::format("{}: no such option{}", word, guess.empty() ? "" : fmt::format("; did you mean {}?", guess));
}

std::string unknown_word(const CLI::App& app, const std::string& word) {
  if (word.starts_with('-')) return unknown_option(app, word.substr(0, word.find('=')));
  const std::vector<std::string> commands = commands_of(app);
  if (commands.empty()) return fmt::format("{}: not expected here", word);
  const std::string guess = nearest(word, commands);
  if (!guess.empty()) return fmt::format("{}: no such command; did you mean {}?", word, guess);
  return fmt::format("{}: no such command; there are {}", word, fmt::join(commands, ", "));
}

}  // namespace

std::string usage_error(const CLI::App& app, const CLI::ParseError& error) {
  for (const CLI::App* command = &app; command != nullptr; command = chosen_below(*command)) {
    if (const auto unknown = command->remaining(); !unknown.empty()) return unknown_word(*command, unknown.front());
  }
  return error.what();
}

}  // namespace fleet::cli
