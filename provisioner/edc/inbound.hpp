// What devices say to the provisioner in EDC over MQTT, read into the domain's values. Pure; the input is hostile.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "provisioner/provisioning/dialect.hpp"

namespace fleet::provisioner {

struct HelloIn {
  Hello hello;
};
// A PROV that could not be read; `hello_id` is there if it still tells where to answer, `nonce` if it has one.
struct MalformedHelloIn {
  std::optional<std::string> hello_id;
  std::optional<Bytes> nonce;
  std::string why;
};
struct StepReplyIn {
  StepReply reply;
};
// News of a package that it was asked to download and install.
struct JobNoticeIn {
  JobNotice notice;
};
// The device has left: with its goodbye (DC), or the broker found it gone (LWT).
struct DeviceGoneIn {
  bool said_goodbye = false;
};
// Nothing that the provisioner acts on, or nothing that it can read; `why` is a phrase for the log, without secrets or
// rids.
struct Ignored {
  std::string why;
};
using InboundMessage = std::variant<HelloIn, MalformedHelloIn, StepReplyIn, JobNoticeIn, DeviceGoneIn, Ignored>;

// `topic` and `payload` as published by the authenticated `client_id` on the provision broker. A PROV over 64 KiB, also
// once inflated, is malformed.
InboundMessage read_inbound(std::string_view account, std::string_view provisioner_id, std::string_view client_id,
                            std::string_view topic, std::string_view payload);

}  // namespace fleet::provisioner
