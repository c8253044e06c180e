#include "provisioner/service/reply_batch.hpp"

#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using namespace fleet::provisioner;

namespace {

StepReply reply(int number) {
  return {std::to_string(number), StepKind::kConfiguration, 200, ""};
}

}  // namespace

TEST_CASE("What was added before a batch was taken is in it, in its order; nothing is after, and taking again finds the same") {
  ReplyBatch batch(reply(0));
  StepReply second = reply(1), late = reply(2);
  CHECK(batch.add(second));
  CHECK(batch.take().size() == 2);
  CHECK(batch.take()[1].rid == "1");
  CHECK_FALSE(batch.add(late));
  CHECK(late.rid == "2");  // still there for another batch
  CHECK(batch.take().size() == 2);
}

TEST_CASE("A batch is full at some time") {
  ReplyBatch batch(reply(0));
  for (std::size_t i = 1; i < ReplyBatch::kMost; ++i) {
    StepReply more = reply(static_cast<int>(i));
    CHECK(batch.add(more));
  }
  StepReply last = reply(99);
  CHECK_FALSE(batch.add(last));
  CHECK(last.rid == "99");
  CHECK(batch.take().size() == ReplyBatch::kMost);
}

TEST_CASE("No reply is lost or doubled between the thread that adds and the one that takes") {
  for (int round = 0; round < 200; ++round) {
    ReplyBatch batch(reply(0));
    std::size_t refused = 0;
    std::thread adding([&] {
      for (int i = 1; i < 20; ++i) {
        StepReply more = reply(i);
        if (!batch.add(more)) ++refused;
      }
    });
    const std::size_t taken = batch.take().size();
    adding.join();
    CHECK(batch.take().size() == taken);
    CHECK(taken + refused == 20);
  }
}
