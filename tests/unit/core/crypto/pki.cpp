#include "tests/unit/core/crypto/pki.hpp"

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace fleet::test {
namespace {

Outcome run_openssl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "openssl");
  return run(std::move(arguments));
}

}  // namespace

Issuer make_root(std::string_view name, WallTime now, int days) {
  const PrivateKey key = must(PrivateKey::generate());
  const CertificateRequest request{.profile = CertificateProfile::kRootCa,
                                   .common_name = std::string(name),
                                   .san_names = {},
                                   .not_before = now - kHour,
                                   .not_after = now + days * kDay};
  return {must(crypto::issue_root(request, key)), key};
}

Issuer make_below(const Issuer& issuer, CertificateProfile profile, std::string_view name, WallTime now, int days) {
  const PrivateKey key = must(PrivateKey::generate());
  CertificateRequest request{.profile = profile,
                             .common_name = std::string(name),
                             .san_names = {},
                             .not_before = now - kHour,
                             .not_after = now + days * kDay};
  if (profile == CertificateProfile::kServer) request.san_names = {"localhost", "127.0.0.1"};
  return {must(crypto::issue(request, key.public_key(), issuer)), key};
}

std::string put(const TempFolder& folder, const std::string& name, std::string_view text) {
  const auto path = folder / name;
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
  return path.string();
}

std::string get(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string openssl(std::vector<std::string> arguments) {
  const Outcome outcome = run_openssl(std::move(arguments));
  if (outcome.exit_code != 0) throw std::runtime_error(outcome.output + outcome.errors);
  return outcome.output;
}

bool openssl_accepts(std::vector<std::string> arguments) {
  return run_openssl(std::move(arguments)).exit_code == 0;
}

}  // namespace fleet::test
