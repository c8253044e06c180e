#include "provisioner/cli/cli.hpp"

int main(int argc, char** argv) {
  return fleet::provisioner::run_cli(argc, argv);
}
