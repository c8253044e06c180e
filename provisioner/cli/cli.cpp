#include "provisioner/cli/cli.hpp"

#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <sstream>
#include <sysexits.h>

#include <CLI/CLI.hpp>

#include "core/cli/usage.hpp"
#include "provisioner/cli/advice.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {
namespace {

int report(Act act, const Error& error, const DataLayout& layout) {
  return complain(error, exit_code_of(act, error.code), hint_for(act, error, layout));
}

std::string default_data_folder() {
  const char* const given = std::getenv("PROVISIONER_DATA");
  return given != nullptr && *given != '\0' ? given : std::string(kDefaultDataFolder);
}

std::string check_status(const std::string& text) {
  if (parse_job_status(text)) return {};
  std::string names;
  for (int i = 0; i <= static_cast<int>(JobStatus::kStopped); ++i) {
    names += (i == 0 ? "" : ", ") + std::string(to_string(static_cast<JobStatus>(i)));
  }
  return fmt::format("'{}': no such status; there are {}", text, names);
}

std::string check_listen(const std::string& text) {
  const auto listen = parse_listen_address(text);
  return listen ? std::string() : listen.error().message;
}

std::string check_duration(const std::string& text) {
  const auto duration = parse_duration(text);
  return duration ? std::string() : duration.error().message;
}

std::string check_label(const std::string& text) {
  return text.find('=') == std::string::npos || text.front() == '=' ? "'" + text + "': write it as name=value"
                                                                    : std::string();
}

// As openssl and others write it: "5F:0C:…".
std::string plain_serial(const std::string& text) {
  std::string serial;
  for (const char c : text) {
    if (c != ':') serial += c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return serial;
}

// The tree of commands, and which one was chosen.
class CommandLine {
 public:
  CommandLine() {
    app_.set_version_flag("--version", "provisioner " FLEET_VERSION);
    app_.require_subcommand(1);
    app_.footer("Example:\n  provisioner get requests --status FAILED");
    add_init();
    add_serve();
    add_renew();
    add_broker_config();
    add_apply();
    add_get();
    add_describe();
    add_change("retry", "Let requests begin anew, also completed and abandoned ones");
    add_change("enable", "Admit the devices of requests again");
    add_change("disable", "Admit the devices of requests no longer, and cut them off");
    add_change("delete", "Delete requests with their history; certificates stay on record");
    add_audit();
    add_watch();
    add_status();
  }

  int run(int argc, const char* const* argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() != 0) {
        return complain({ErrorCode::kInvalidArgument, cli::usage_error(app_, error)}, EX_USAGE,
                        "add --help to see what is possible here, with an example");
      }
      std::ostringstream help;  // or the version
      app_.exit(error, help, help);
      print(help.str());
      return finish(EX_OK);
    }
    layout_.folder = data_;
    const Result<int> done = chosen_();
    return done ? finish(*done) : report(act_, done.error(), layout_);
  }

 private:
  using Command = std::function<Result<int>()>;

  // Nothing is done whose result did not get out. That the reader has gone is quite all right.
  static int finish(int exit_code) {
    const auto shown = flush_output();
    if (shown || shown.error().code == ErrorCode::kUnavailable || exit_code == EX_IOERR) return exit_code;
    return complain(shown.error(), EX_IOERR);
  }

  CLI::App* add(CLI::App& parent, const std::string& name, const std::string& help, const std::string& example) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->footer("Example:\n  " + example);
    return command;
  }

  // A command that does something, as opposed to one that has others below it.
  CLI::App* add_leaf(CLI::App& parent, const std::string& name, const std::string& help, const std::string& example,
                     Act act, Command command) {
    CLI::App* leaf = add(parent, name, help, example);
    leaf->add_option("--data", data_,
                     "the service's data folder; the default is that of PROVISIONER_DATA, if it is set")
        ->type_name("DIR")
        ->capture_default_str();
    leaf->callback([this, act, command = std::move(command)] {
      act_ = act;
      chosen_ = command;
    });
    return leaf;
  }

  CLI::App* add_group(const std::string& name, const std::string& help, const std::string& example) {
    CLI::App* group = add(app_, name, help, example);
    group->require_subcommand(1);
    return group;
  }

  static constexpr const char* kFormats = "table, json or yaml";
  static constexpr const char* kListFormats = "table, json, or yaml: manifests that apply takes";

  void add_output(CLI::App& command, const char* help = kFormats) {
    command.add_option("-o,--output", output_, help)
        ->type_name("FORMAT")
        ->check(CLI::IsMember({"table", "json", "yaml"}), "")
        ->capture_default_str();
  }

  OutputFormat format() const {
    if (output_ == "table") return OutputFormat::kTable;
    return output_ == "json" ? OutputFormat::kJson : OutputFormat::kYaml;
  }

  void add_selection(CLI::App& command, Selection& selection) {
    command.add_option("-l,--label,--selector", selection.labels, "only those with this label; may be repeated")
        ->type_name("NAME=VALUE")
        ->allow_extra_args(false)
        ->check(check_label, "");
    command
        .add_option("--search", selection.search,
                    "only those with this in name, client id, username, or in what the device said of itself")
        ->type_name("TEXT");
  }

  void add_names(CLI::App& command, const std::string& what) {
    command.add_option("names", list_.selection.names, "only these " + what)->type_name("NAME");
  }

  void add_limit(CLI::App& command, std::optional<std::size_t>& limit, bool& all) {
    CLI::Option* some = command.add_option("--limit", limit, "at most so many; a table has 1000 if you do not say");
    some->type_name("N")->check(CLI::PositiveNumber, "");
    command.add_flag("--all", all, "all, however many")->excludes(some);
  }

  void add_secrets(CLI::App& command) {
    command.add_flag("--show-secrets", list_.show_secrets,
                     "with -o yaml: write values of params and of Password properties too");
  }

  void add_wait(CLI::App& command, bool& wait, std::optional<Millis>& timeout, const std::string& help) {
    CLI::Option* flag = command.add_flag("--wait", wait, help);
    command
        .add_option_function<std::string>(
            "--timeout", [&timeout](const std::string& text) { timeout = parse_duration(text).value_or(Millis(0)); },
            "how long to wait (30s, 10m, 2h); for ever if you do not say. Exit code 75 when it is over")
        ->type_name("TIME")
        ->check(check_duration, "")
        ->needs(flag);
  }

  void add_init() {
    CLI::App* init =
        add_leaf(app_, "init", "Make a data folder: settings, PKI, keys",
                 "provisioner init --host provision.example.org --listen 0.0.0.0:8883", Act::kInit, [this] {
                   init_.layout = layout_;
                   init_.listen = parse_listen_address(listen_).value_or(init_.listen);
                   return run_init(init_);
                 });
    init->add_option("--host", init_.hosts,
                     "name or address by which devices reach the provision broker; may be repeated")
        ->required()
        ->type_name("NAME")
        ->allow_extra_args(false);
    init->add_option("--listen", listen_, "where the provision broker listens")
        ->type_name("ADDRESS:PORT")
        ->check(check_listen, "")
        ->capture_default_str();
    init->add_option("--account", init_.account, "the provision account, a part of all topics")
        ->type_name("NAME")
        ->capture_default_str();
  }

  void add_serve() {
    CLI::App* serve = add_leaf(app_, "serve", "Run the service and its broker until it is told to stop",
                               "provisioner serve --data /var/lib/provisioner", Act::kServe,
                               [this] { return run_service(layout_, check_config_); });
    serve->add_flag("--check-config", check_config_, "only say what would keep it from starting");
  }

  void add_broker_config() {
    add_leaf(app_, "broker-config", "Print what a Mosquitto under another supervisor needs (broker.managed: false)",
             "provisioner broker-config > /etc/mosquitto/conf.d/provisioner.conf", Act::kServe,
             [this] { return print_broker_config(layout_); });
  }

  void add_apply() {
    CLI::App* apply =
        add_leaf(app_, "apply", "Create or change accounts, profiles and provision requests: all or nothing",
                 "provisioner apply -f gateways/ --secrets-out secrets.csv", Act::kApply,
                 [this] { return apply_documents(layout_, apply_); });
    apply->add_option("-f,--file", apply_.sources, "YAML file, folder of *.yaml, or - for stdin; may be repeated")
        ->required()
        ->type_name("FILE|DIR|-");
    CLI::Option* dry_run = apply->add_flag("--dry-run", apply_.dry_run, "say what would change, and change nothing");
    add_wait(*apply, apply_.wait, apply_.timeout,
             "then show how the applied requests come on; exit code 0 once all are COMPLETED, 76 when some cannot be");
    dry_run->excludes("--wait");
    apply->add_flag("--allow-weak", apply_.allow_weak, "accept passwords and activation keys of fewer than 16 characters");
    apply->add_flag("--overwrite", apply_.overwrite,
                    "replace provision requests that exist; without it only their dates, status and retryMaxAttempts are "
                    "edited");
    apply
        ->add_option("--secrets-out", apply_.secrets_out,
                     "write generated secrets to this new file instead of the terminal")
        ->type_name("FILE");
  }

  void add_renew() {
    CLI::App* renew =
        add_group("renew", "Make new leaf certificates of the service itself", "provisioner renew signing");
    add_leaf(*renew, "signing", "A new certificate and key that sign what devices are told",
             "provisioner renew signing", Act::kRenew, [this] { return renew_signing_leaf(layout_); });
    CLI::App* broker = add_leaf(*renew, "broker", "A new certificate and key of the provision broker",
                                "provisioner renew broker --host provision.example.org", Act::kRenew,
                                [this] { return renew_broker_leaf(layout_, init_.hosts); });
    broker->add_option("--host", init_.hosts, "name or address by which devices reach the broker; may be repeated")
        ->required()
        ->type_name("NAME")
        ->allow_extra_args(false);
  }

  void add_get() {
    CLI::App* get = add_group("get", "List what there is", "provisioner get requests -l site=north");
    CLI::App* requests =
        add_leaf(*get, "requests", "List provision requests", "provisioner get requests --status FAILED -l site=north",
                 Act::kList, [this] { return get_requests(layout_, list_, format()); });
    requests->alias("request");
    requests->add_option("--status", list_.selection.statuses, "only those in this state; may be repeated")
        ->type_name("STATUS")
        ->allow_extra_args(false)
        ->check(check_status, "");
    add_names(*requests, "requests");
    add_selection(*requests, list_.selection);
    add_limit(*requests, list_.limit, list_.all);
    add_secrets(*requests);
    add_output(*requests, kListFormats);
    CLI::App* profiles = add_leaf(*get, "profiles", "List profiles", "provisioner get profiles gateway -o yaml",
                                  Act::kList, [this] { return get_profiles(layout_, list_, format()); });
    profiles->alias("profile");
    add_names(*profiles, "profiles");
    add_secrets(*profiles);
    add_output(*profiles, kListFormats);
    CLI::App* accounts = add_leaf(*get, "accounts", "List owner accounts", "provisioner get accounts", Act::kList,
                                  [this] { return get_accounts(layout_, list_, format()); });
    accounts->alias("account");
    add_names(*accounts, "accounts");
    add_output(*accounts, kListFormats);
    CLI::App* certificates =
        add_leaf(*get, "certificates", "List device certificates, those that expire first at the top",
                 "provisioner get certificates --expires-before 30d", Act::kList,
                 [this] { return get_certificates(layout_, certificates_, format()); });
    certificates->alias("certificate");
    certificates->add_option("--client-id", certificates_.client_id, "only those of this device")->type_name("ID");
    certificates->add_option("--expires-before", certificates_.expires_before,
                             "only those that expire before this time (2027-01-01), or within this time (30d)")
        ->type_name("TIME");
    add_limit(*certificates, certificates_.limit, certificates_.all);
    add_output(*certificates);
  }

  void add_describe() {
    CLI::App* describe =
        add_group("describe", "Show everything about one thing", "provisioner describe request north-gw-01");
    CLI::App* request = add_leaf(*describe, "request", "Show a request: state, what to do next, attempts, history",
                                 "provisioner describe request north-gw-01", Act::kDescribe,
                                 [this] { return describe_request(layout_, name_, format()); });
    request->add_option("name", name_, "the request")->required()->type_name("NAME");
    add_output(*request);
    CLI::App* certificate =
        add_leaf(*describe, "certificate", "Show a device certificate: whose it is, its key, how long it is valid",
                 "provisioner describe certificate 5f0c… --pem", Act::kDescribe, [this] {
                   return describe_certificate(layout_, plain_serial(name_), only_pem_, format());
                 });
    certificate->add_option("serial", name_, "its serial number, in hex")->required()->type_name("SERIAL");
    certificate->add_flag("--pem", only_pem_, "only the certificate itself, as PEM");
    add_output(*certificate);
  }

  void add_watch() {
    CLI::App* watch = add_leaf(app_, "watch", "Show how requests come on, until Ctrl-C",
                               "provisioner watch -l site=north", Act::kList,
                               [this] { return watch_requests(layout_, watch_, format()); });
    watch->add_option("names", watch_.selection.names, "only these requests")->type_name("NAME");
    add_selection(*watch, watch_.selection);
    add_wait(*watch, watch_.wait, watch_.timeout,
             "end when all are COMPLETED, or with exit code 76 when the others cannot be");
    add_output(*watch, "table (in place on a terminal, else a line a change), json or yaml (one a change)");
  }

  void add_change(const std::string& act, const std::string& help) {
    CLI::App* group = add_group(act, help, "provisioner " + act + " request north-gw-01");
    CLI::App* request = add_leaf(*group, "request", help, "provisioner " + act + " request north-gw-01 north-gw-02",
                                 Act::kChange, [this, act] { return change_requests(layout_, act, names_); });
    request->add_option("names", names_, "the requests")->required()->type_name("NAME");
  }

  void add_audit() {
    CLI::App* audit = add_leaf(app_, "audit", "Show who did what, and who was refused, denied or locked out",
                               "provisioner audit --since 1h --kind refused", Act::kList,
                               [this] { return show_audit(layout_, audit_, format()); });
    audit->add_option("--since", audit_.since, "only the last 30m, 12h, 7d, …")
        ->type_name("DURATION")
        ->check(check_duration, "");
    audit->add_option("--client-id", audit_.client_id, "only about this device")->type_name("CLIENT-ID");
    audit->add_option("--kind", audit_.kind, "only refused, denied, locked, kicked, apply, retry, enable, disable, …")
        ->type_name("KIND");
    audit->add_option("--limit", audit_.limit, "the newest so many lines")
        ->type_name("NUMBER")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str();
    add_output(*audit);
  }

  void add_status() {
    add_output(*add_leaf(app_, "status", "Show how the service is (exit code 69: it does not run)",
                         "provisioner status", Act::kList, [this] { return show_status(layout_, format()); }));
  }

  CLI::App app_{"Brings devices to their owners' brokers over MQTT.", "provisioner"};
  std::string data_ = default_data_folder();
  DataLayout layout_;
  Act act_ = Act::kList;
  Command chosen_;
  std::string output_ = "table";
  InitOptions init_;
  std::string listen_ = "0.0.0.0:8883";
  bool check_config_ = false;
  ApplyArguments apply_;
  ListArguments list_;
  AuditArguments audit_;
  CertificateArguments certificates_;
  WatchArguments watch_;
  bool only_pem_ = false;
  std::string name_;
  std::vector<std::string> names_;
};

}  // namespace

int run_cli(int argc, const char* const* argv) {
  // a reader that went away (`… | head`) and a peer that closed are errors of write(2), not the end of the program
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return CommandLine().run(argc, argv);
  } catch (const std::exception& exception) {
    return report(Act::kList, Error{ErrorCode::kInternal, fmt::format("internal error: {}", exception.what())}, {});
  }
}

}  // namespace fleet::provisioner
