#include "agent/cli/fleet_sim.hpp"

#include <algorithm>
#include <exception>
#include <sstream>
#include <string>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "agent/simulator/fleet.hpp"
#include "agent/simulator/floor.hpp"
#include "agent/simulator/report.hpp"
#include "core/base/console.hpp"
#include "core/base/log.hpp"
#include "core/cli/usage.hpp"

namespace fleet::agent {
namespace {

constexpr int kInterrupted = 130;
constexpr std::size_t kMaxThreads = 256;

// As typed; read by to_options().
struct Inputs {
  std::string broker_url, broker_ca_file, platform_root_file, roster, account = Settings().account_name;
  std::string arrival = "at-once", slow_by = "2s", timeout = "2m", retry_interval = "1m", time_limit = "0s";
  std::string output = "table", trace, platform_url;
  std::vector<std::string> watched;
  std::size_t devices = 0, concurrency = 500, key_pool = 0, threads = usual_threads();
  std::uint64_t seed = 1;
  int retry_max_attempts = -1;
  bool no_owner = false, quiet = false;
  Mix mix;
};

Result<std::vector<Watched>> parse_watched(const std::vector<std::string>& texts) {
  std::vector<Watched> watched;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    const std::string digits = equals == std::string::npos ? "" : text.substr(equals + 1);
    if (equals == 0 || digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, "--cpu-of {}: NAME=PID, e.g. broker=4711", text);
    }
    const int pid = std::stoi(digits);
    if (!cpu_time_of(pid)) return fail(ErrorCode::kNotFound, "--cpu-of {}: there is no process {}", text, pid);
    watched.push_back({text.substr(0, equals), pid});
  }
  return watched;
}

Result<Millis> duration(std::string_view option, const std::string& text) {
  auto time = parse_duration(text);
  if (!time) return fail(time.error().code, "{}: {}", option, time.error().message);
  return time;
}

Result<Trust> trust_of(const Inputs& inputs, const mqtt::BrokerUrl& broker) {
  Settings settings;
  settings.broker_ca_file = inputs.broker_ca_file;
  settings.platform_root_file = inputs.platform_root_file;
  TRY_ASSIGN(Trust trust, load_trust(settings));
  if (trust.broker_roots.empty() && broker.scheme == mqtt::BrokerUrl::Scheme::kMqtts) {
    return fail(ErrorCode::kInvalidArgument, "--broker-ca-file: the certificate that {} is to be known by, e.g. pki/root.crt", broker.str());
  }
  return trust;
}

Result<CrewOptions> crew_of(const Inputs& inputs) {
  CrewOptions crew;
  if (inputs.threads < 1 || inputs.threads > kMaxThreads) {
    return fail(ErrorCode::kInvalidArgument, "--threads {}: 1 to {}", inputs.threads, kMaxThreads);
  }
  crew.threads = inputs.threads;
  TRY_ASSIGN(crew.watched, parse_watched(inputs.watched));
  return crew;
}

Result<FleetOptions> to_options(const Inputs& inputs) {
  FleetOptions options;
  TRY_ASSIGN(options.broker, mqtt::BrokerUrl::parse(inputs.broker_url));
  TRY_ASSIGN(options.trust, trust_of(inputs, options.broker));
  if (options.trust.platform_roots.empty()) {
    return fail(ErrorCode::kInvalidArgument, "--platform-root-file: the root that the platform's messages are checked against, e.g. pki/root.crt");
  }
  TRY_ASSIGN(options.arrival, parse_arrival(inputs.arrival));
  TRY_ASSIGN(options.slow_by, duration("--slow-by", inputs.slow_by));
  TRY_ASSIGN(options.timeout, duration("--timeout", inputs.timeout));
  TRY_ASSIGN(options.retry_interval, duration("--retry-interval", inputs.retry_interval));
  TRY_ASSIGN(const Millis limit, duration("--time-limit", inputs.time_limit));
  TRY_ASSIGN(options.crew, crew_of(inputs));
  options.crew.time_limit = std::chrono::duration_cast<Seconds>(limit);
  options.account = inputs.account;
  options.mix = inputs.mix;
  options.concurrency = inputs.concurrency;
  options.seed = inputs.seed;
  options.key_pool = inputs.key_pool;
  options.connect_owner = !inputs.no_owner;
  options.retry_max_attempts = inputs.retry_max_attempts;
  return options;
}

// On a terminal only: a script's log has no use for it.
std::function<void(const FleetProgress&)> progress_bar(bool quiet) {
  if (quiet || ::isatty(STDERR_FILENO) == 0) return [](const FleetProgress&) {};
  return [](const FleetProgress& progress) {
    winsize size{};
    const std::size_t width = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    const std::string line = "\r" + progress_line(progress, width - 1) + "\x1b[K";
    static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()));
  };
}

int show(const FleetOutcome& outcome, const Inputs& inputs) {
  if (!inputs.quiet && ::isatty(STDERR_FILENO) != 0) print_error("");
  print(inputs.output == "json" ? to_json(outcome) + "\n" : summary(outcome));
  if (outcome.interrupted) return kInterrupted;
  const bool all_ended = outcome.tally.provisioned + outcome.tally.stopped == outcome.tally.devices;
  return all_ended && outcome.tally.unexpected == 0 ? EX_OK : 1;
}

Result<int> rehearse(const Inputs& inputs) {
  TRY_ASSIGN(const FleetOptions options, to_options(inputs));
  TRY_ASSIGN(std::vector<RosterEntry> roster, read_roster(inputs.roster));
  if (inputs.devices > roster.size()) {
    return fail(ErrorCode::kInvalidArgument, "--devices {}: {} has {}", inputs.devices, inputs.roster, roster.size());
  }
  if (inputs.devices > 0) roster.resize(inputs.devices);
  TRY_ASSIGN(const FleetOutcome outcome, run_fleet(options, roster, progress_bar(inputs.quiet)));
  if (!inputs.trace.empty()) TRY(write_trace(inputs.trace, outcome.trace));
  return show(outcome, inputs);
}

Result<int> measure_floor(const Inputs& inputs) {
  FloorOptions options;
  TRY_ASSIGN(options.broker, mqtt::BrokerUrl::parse(inputs.broker_url));
  TRY_ASSIGN(options.platform, mqtt::BrokerUrl::parse(inputs.platform_url));
  TRY_ASSIGN(options.trust, trust_of(inputs, options.broker));
  TRY_ASSIGN(options.trace, read_trace(inputs.trace));
  TRY_ASSIGN(options.crew, crew_of(inputs));
  options.devices = inputs.devices;
  options.concurrency = inputs.concurrency;
  TRY_ASSIGN(const FleetOutcome outcome, run_floor(options, progress_bar(inputs.quiet)));
  return show(outcome, inputs);
}

void add_common(CLI::App& command, Inputs& inputs) {
  command.add_option("--broker-url", inputs.broker_url, "the broker that the devices connect to, e.g. mqtts://provision.example.org:8883")->required()->type_name("URL");
  command.add_option("--broker-ca-file", inputs.broker_ca_file, "PEM: whom to trust there (default: --platform-root-file)")->type_name("FILE");
  command.add_option("--concurrency", inputs.concurrency, "devices on their way at a time; others wait (default 500)")->type_name("N");
  command.add_option("--threads", inputs.threads, "threads that share the devices (default: one for each processor)")->type_name("N");
  command.add_option("--cpu-of", inputs.watched, "a process whose CPU time is to be told, as NAME=PID; may be repeated")->type_name("NAME=PID");
  command.add_option("-o,--output", inputs.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  command.add_flag("-q,--quiet", inputs.quiet, "no progress bar");
}

void add_rehearsal(CLI::App& command, Inputs& inputs) {
  add_common(command, inputs);
  command.add_option("--roster", inputs.roster, "the devices: the file of `provisioner apply --secrets-out`")->required()->type_name("FILE");
  command.add_option("--platform-root-file", inputs.platform_root_file, "PEM: the root of the platform's signing certificates (default: --broker-ca-file)")->type_name("FILE");
  command.add_option("--account", inputs.account, "the provision account (default as the agent's)")->type_name("NAME");
  command.add_option("--devices", inputs.devices, "only the first N of the roster")->type_name("N");
  command.add_option("--arrival", inputs.arrival, "at-once (default), constant:RATE, poisson:RATE (devices a second) or power-cut:TIME")->type_name("HOW");
  command.add_option("--seed", inputs.seed, "of all that is random; the same seed gives the same fleet (default 1)")->type_name("N");
  command.add_option("--key-pool", inputs.key_pool, "make N device keys in advance and use them in turn; only for a platform that takes one key from several devices (default: a key for each)")->type_name("N");
  command.add_flag("--no-owner", inputs.no_owner, "do not go on to the owner's broker");
  command.add_option("--timeout", inputs.timeout, "as the agent's setting (default 2m)")->type_name("TIME");
  command.add_option("--retry-interval", inputs.retry_interval, "as the agent's setting (default 1m)")->type_name("TIME");
  command.add_option("--retry-max-attempts", inputs.retry_max_attempts, "as the agent's setting (default -1: no end)")->type_name("N");
  command.add_option("--time-limit", inputs.time_limit, "end after that time, whatever is still on its way")->type_name("TIME");
  command.add_option("--trace", inputs.trace, "write down the sizes of one device's messages, for `fleet-sim floor`")->type_name("FILE");
  command.add_option("--slow-by", inputs.slow_by, "how long a slow device takes over each message (default 2s)")->type_name("TIME");
  const auto add_percentage = [&](Behaviour behaviour, const char* help) {
    command.add_option("--" + std::string(to_string(behaviour)), inputs.mix[behaviour], help)->type_name("PERCENT")->group("Behaviours, in percent of the fleet");
  };
  add_percentage(Behaviour::kWrongPassword, "come with a wrong password: not let in");
  add_percentage(Behaviour::kWrongKey, "come with a wrong activation key: refused");
  add_percentage(Behaviour::kDisconnect, "lose their connection in the middle, once");
  add_percentage(Behaviour::kSlow, "are slow to answer");
  add_percentage(Behaviour::kDuplicate, "send everything twice");
  add_percentage(Behaviour::kSilent, "never answer");
}

int report(const Error& error) {
  print_error("error: " + error.message);
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kMalformed:
      return EX_DATAERR;
    case ErrorCode::kNotFound:
      return EX_NOINPUT;
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimedOut:
      return EX_UNAVAILABLE;
    case ErrorCode::kPermissionDenied:
      return EX_NOPERM;
    case ErrorCode::kLimitExceeded:
      return EX_OSERR;
    default:
      return EX_SOFTWARE;
  }
}

int run(int argc, const char* const* argv) {
  CLI::App app(
      "Rehearses a rollout: thousands of simulated devices, each the agent's own session over a connection of its own, are "
      "provisioned by a real provisioner and go on to their owner's broker. They use up the requests of their roster, as "
      "real devices do. Applications are acknowledged, not downloaded.",
      "fleet-sim");
  app.set_version_flag("--version", "fleet-sim " FLEET_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Example:\n  provisioner apply -f rehearsal/ --secrets-out roster.csv\n  fleet-sim run --roster roster.csv "
      "--broker-url mqtts://localhost:8883 --platform-root-file root.crt --arrival power-cut:1m --disconnect 5\n"
      "Exit code 0: every device ended as its behaviour has it.");
  Inputs inputs;
  CLI::App* const rehearsal = app.add_subcommand("run", "Provision the devices of a roster");
  add_rehearsal(*rehearsal, inputs);
  CLI::App* const floor = app.add_subcommand("floor", "Measure what the broker alone can do, with the messages of a traced run");
  add_common(*floor, inputs);
  floor->add_option("--platform-url", inputs.platform_url, "where the one who answers connects, e.g. unix:/run/broker.sock")->required()->type_name("URL");
  floor->add_option("--devices", inputs.devices, "how many")->required()->type_name("N");
  floor->add_option("--trace", inputs.trace, "the file of `fleet-sim run --trace`")->required()->type_name("FILE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      std::ostringstream help;  // or the version
      app.exit(error, help, help);
      print(help.str());
      return EX_OK;
    }
    print_error("error: " + cli::usage_error(app, error));
    print_error("hint: see `fleet-sim --help`");
    return EX_USAGE;
  }
  log::set_level(log::Level::kError);  // thousands of devices: the summary tells
  const auto code = rehearsal->parsed() ? rehearse(inputs) : measure_floor(inputs);
  if (!code) return report(code.error());
  const auto shown = flush_output();
  return shown || shown.error().code == ErrorCode::kUnavailable ? *code : report(shown.error());
}

}  // namespace

int run_fleet_sim(int argc, const char* const* argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& exception) {
    return report(Error{ErrorCode::kInternal, fmt::format("internal error: {}", exception.what())});
  }
}

}  // namespace fleet::agent
