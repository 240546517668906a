// What a job and its workers tell each other over the control plane.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/types.h"
#include "rollout/remote_draw.h"
#include "rollout/rollout_config.h"

namespace vernier {

enum class WorkerMessage : uint16_t {
  setup = 1,   // to a worker that has joined
  weights,     // it is to take part in sending the weights
  draw,        // a group
  forget,      // nothing that was asked for is wanted any more
  over,        // the job is
  ready = 16,  // from a worker: it has room for the weights
  arrived,     // whether the weights are whole there
  group,       // that was asked for
};

/// With it a worker can draw as the job itself: all but the weights.
struct WorkerSetup {
  RolloutConfig drawing;
  std::map<std::string, std::string> files;  // of the model's folder, by name
  int64_t max_length = 0;                    // model.max_length
  double deadline_s = 60;
  bool weights_beside = false;  // new ones may come while it draws with those before
};

/// The weights come over c10d: in a group of this name at the job's host and this port.
struct WeightsNotice {
  std::string group;
  int64_t port = 0, rank = 0, size = 0;
  bool fresh = false;   // the group is to be made
  int64_t version = 0;  // of the weights
};

struct WeightsArrived {
  int64_t version = 0;
  bool whole = false;
};

struct WorkerOver {
  int32_t code = 0;  // what a worker's process ends with
};

std::string to_bytes(const WorkerSetup& setup);
std::string to_bytes(const WeightsNotice& notice);
std::string to_bytes(const RemoteDraw& draw);
std::string to_bytes(const WorkerOver& over);
std::string to_bytes(const WeightsArrived& arrived);
/// A group of a draw, without its prompt, which the job has.
std::string to_bytes(int64_t ticket, const Group& group);

/// Throw RunError on bytes that are none.
WorkerSetup setup_from(std::string_view bytes);
WeightsNotice weights_notice_from(std::string_view bytes);
RemoteDraw draw_from(std::string_view bytes);
WorkerOver over_from(std::string_view bytes);
WeightsArrived weights_arrived_from(std::string_view bytes);
struct DrawnGroup {
  int64_t ticket = 0;
  Group group;
};
DrawnGroup group_from(std::string_view bytes);

/// What a group is to be like that a worker has drawn.
struct Expected {
  const RemoteDraw& draw;
  const RolloutConfig& drawing;
  int64_t vocab_size;
  int64_t oldest, newest;  // weights that may have drawn it
};
/// What is wrong with the responses that have come; "" where nothing is.
std::string group_problem(const Group& group, const Expected& expected);

}  // namespace vernier
