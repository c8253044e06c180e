#include "agent/simulator/roster.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::agent;

TEST_CASE("A roster is read as the operator's tool writes it") {
  const auto roster = parse_roster(
      "name,clientId,username,password,activationKey\ngw-1,C1,U1,secret-1,key-1\r\ngw-2,C2,U2,\"a \"\"quoted\"\", one\",\n");
  REQUIRE(roster.has_value());
  REQUIRE(roster->size() == 2);
  CHECK(roster->at(0).client_id == "C1");
  CHECK(roster->at(0).username == "U1");
  CHECK(roster->at(0).activation_key->reveal() == "key-1");
  CHECK(roster->at(1).password.reveal() == "a \"quoted\", one");
  CHECK_FALSE(roster->at(1).activation_key.has_value());
}

TEST_CASE("Columns may stand in any order, and there may be others") {
  const auto roster = parse_roster("password,site,username,clientId,name\np,north,u,c,n");
  REQUIRE(roster.has_value());
  CHECK(roster->front().name == "n");
  CHECK(roster->front().password.reveal() == "p");
}

TEST_CASE("A broken roster is refused with its line") {
  const auto message = [](const char* text) {
    const auto roster = parse_roster(text);
    REQUIRE_FALSE(roster.has_value());
    return roster.error().message;
  };
  const std::string header = "name,clientId,username,password\n";
  CHECK(message("") == "it is empty");
  CHECK(message("name,clientId,username\n").find("no column 'password'") != std::string::npos);
  CHECK(message((header + "a,b,c,d\na,b,c\n").c_str()) == "line 3: 3 fields instead of 4");
  CHECK(message((header + "a,b,c,\"d\n").c_str()) == "line 2: a quoted field does not end");
  CHECK(message((header + "a,b,c,\"d\"e\n").c_str()) == "line 2: text behind a quoted field");
  CHECK(message((header + "a,b,c,\n").c_str()) == "line 2: a device needs a clientId and a password");
  CHECK(message((header + "a,b,c,d\nx,b,c,d\n").c_str()) == "line 3: device b comes twice");
  CHECK(message(header.c_str()) == "it names no device");
}
