#include "agent/cli/fleet_sim.hpp"

int main(int argc, char** argv) {
  return fleet::agent::run_fleet_sim(argc, argv);
}
