#include "agent/cli/cli.hpp"

int main(int argc, char** argv) {
  return fleet::agent::run_cli(argc, argv);
}
