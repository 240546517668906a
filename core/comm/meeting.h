// Where ranks, or processes that come and go, find each other: stores of c10d.
#pragma once

#include <exception>
#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/comm/ranks.h"

namespace vernier {

struct MeetingPlace::Store {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

/// What an error of c10d says, without where in it that was.
std::string reason_of(const std::exception& problem);

/// The store of a job, once its rank 0 is there, and nothing in it is of an earlier try. RunError
/// where that is not within config.start_deadline_s.
c10::intrusive_ptr<c10d::Store> open_store(const Identity& one, const ClusterConfig& config);

}  // namespace vernier
