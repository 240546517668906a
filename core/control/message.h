// Messages of the control plane, and what a connection may take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vernier::control {

struct Message {
  uint16_t type = 0;
  std::string payload;
};

/// What a connection may take, on both sides. A frame is taken in as it comes, so a peer holds at
/// most one beyond `in_bytes`, as far as it has sent it.
struct Limits {
  double deadline_s = 60;                // without a sign of life
  size_t out_bytes = size_t{256} << 20;  // that wait to be sent to one peer; more: it is too slow
  size_t in_bytes = size_t{256} << 20;   // of all peers that wait to be taken in; more: they wait
  double hello_s = 5;                    // of a greeting
};

/// Frames of this type say that the sender is alive; the payload says how it is.
constexpr uint16_t kBeat = 0;

}  // namespace vernier::control
